"""
How long parsets take: one real file of 5,702 keys, beside other packages, and growth from 10^4 to 10^6 keys.

    python bench/bench_parset.py [PARSET]

The file is the argument, else `tParset.parset_obs228591` under ../shared/data if that is there; besides, one made up
in the same shape, since not every package reads the real one.
Each figure is the median of fresh processes; the peers are installed into a temporary environment from PyPI.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared/data/parset/files/RTCP/Cobalt/CoInterface/test/tParset.parset_obs228591"
N_RUNS = 5
TIMEOUT_S = 600

OURS = """
import sys, time
start = time.perf_counter()
from pipeline import Parset
imported = time.perf_counter()
text = open(sys.argv[1], encoding="utf-8", errors="surrogateescape", newline="").read()
parset = Parset.parse(text)
parsed = time.perf_counter()
n = sum(len(parset.get_vector(key, expand=True)) for key in parset)
print("figures", imported - start, parsed - imported, time.perf_counter() - parsed, len(parset), n)
"""
PURE_PYTHON = """
import sys, time
start = time.perf_counter()
from lofar_parameterset.parameterset import parameterset
imported = time.perf_counter()
parset = parameterset.fromFile(sys.argv[1])
parsed = time.perf_counter()
n = n_failed = 0
for key in parset.dict():
    try:
        n += len(parset.getStringVector(key, True))
    except Exception:
        n_failed += 1
seconds = time.perf_counter() - parsed
print("figures", imported - start, parsed - imported, seconds, len(parset.dict()), f"{n} ({n_failed} keys failed)")
"""
CPP = """
import sys, time
start = time.perf_counter()
from dp3.parameterset import ParameterSet
imported = time.perf_counter()
parset = ParameterSet(sys.argv[1])
parsed = time.perf_counter()
print("figures", imported - start, parsed - imported, 0.0, "?", "its Python side cannot list keys or expand")
"""
PEERS = (("lofar-parameterset", PURE_PYTHON), ("dp3", CPP))


def main() -> None:
    """Print a table and the growth."""
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("parset", nargs="?", type=Path, default=REAL, help="a real parset")
    real = parser.parse_args().parset
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made_up.parset"
        made.write_text(made_up(5702, 20))
        peers = [(package, installed(Path(folder) / package, package), program) for package, program in PEERS]
        for path in (real, made) if real.exists() else (made,):
            print(f"{path.name}: {path.stat().st_size} bytes; seconds, median of {N_RUNS} processes")
            print(f"{'':24}{'import':>8}{'parse':>8}{'expand':>8}  keys, elements")
            for package, python, program in (("pipeline", sys.executable, OURS), *peers):
                report(package, measure(python, program, path) if python else None)
        print("growth of parsing and expanding (seconds, microseconds per key):")
        for n_keys in (10**4, 10**5, 10**6):
            big = Path(folder) / "big.parset"
            big.write_text(made_up(n_keys, 100))
            figures = measure(sys.executable, OURS, big, 1 if n_keys > 10**5 else 3)
            if figures:
                seconds = float(figures[1]) + float(figures[2])
                print(f"{n_keys:>10} keys: {seconds:8.3f} s {seconds / n_keys * 1e6:8.2f} us")


def made_up(n_keys: int, every: int) -> str:
    """Return a parset in which one value in `every` is a list with repeats and ranges."""
    lines = []
    for i in range(n_keys):
        value = f"[3*{i}, L{i:06d}..{i + 4:06d}_uv.MS, 'a b']" if i % every == 0 else f"value{i}"
        lines.append(f"Observation.Module{i % 97}.Beam[{i}].parameter = {value}\n")
    return "".join(lines)


def installed(folder: Path, package: str) -> str:
    """Return an interpreter that has the package; empty if it cannot be installed."""
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, timeout=TIMEOUT_S)
        python = str(folder / "bin" / "python")
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package, "numpy"],
            check=True,
            capture_output=True,
            timeout=TIMEOUT_S,
        )
    except (subprocess.SubprocessError, OSError):
        return ""
    return python


def measure(python: str, program: str, path: Path, n_runs: int = N_RUNS) -> list[str]:
    """Return the medians of three times and what else the program prints; nothing if it fails."""
    rows = []
    for _ in range(n_runs):
        done = subprocess.run([python, "-c", program, path], capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode:
            return []
        # dp3 prints warnings too, before or behind.
        rows.append(done.stdout[done.stdout.index("figures") + 7 :].splitlines()[0].split(maxsplit=4))
    return [*(str(statistics.median(float(row[i]) for row in rows)) for i in range(3)), *rows[0][3:]]


def report(name: str, figures: list[str] | None) -> None:
    """Print a row."""
    if not figures:
        print(f"{name:24}{'does not read the file' if figures is not None else 'cannot be installed'}")
        return
    times = "".join(f"{float(figure):8.3f}" for figure in figures[:3])
    print(f"{name:24}{times}  {figures[3]}, {figures[4].strip()}")


if __name__ == "__main__":
    main()
