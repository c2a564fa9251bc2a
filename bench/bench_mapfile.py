"""
What mapfiles cost: load and save in each form, how that grows, and a long list of files made into a map in a stream.

Each figure is from a process of its own; seconds do not hold its start and imports, memory does. See README.md.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline import DataMap, DataProduct
from pipeline.formats.mapfile import FORMS

HOSTS = 1000
PIPELINE = [sys.executable, "-m", "pipeline.cli.main"]
TIMEOUT_S = 900.0


def main() -> int:
    """Measure what was asked for and print one table; or be one of the processes."""
    options = parse_options()
    if options.one:
        print(*measure_here(*options.one))
        return 0
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"machine   {os.cpu_count()} cores, load {load}, {platform.system()} {platform.release()}")
    print(f"python    {platform.python_version()}\n")
    print(f"{'form':10}{'entries':>10}{'MB':>8}{'save s':>9}{'peak MB':>9}{'load s':>9}{'peak MB':>9}{'us/entry':>10}")
    with tempfile.TemporaryDirectory() as directory:
        for form in FORMS:
            for n_entries in options.entries:
                print(row(form, n_entries, options.repeats, Path(directory) / "map"), flush=True)
        if options.lines:
            print(f"\n`find` output -> `pipeline mapfile make`, {options.lines} lines: ", end="", flush=True)
            print(measure_stream(options.lines, Path(directory)))
    return 0


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    sizes = [10**4, 10**5, 10**6]
    parser.add_argument("--entries", type=int, nargs="*", default=sizes, help="of the maps (default: 10^4 10^5 10^6)")
    parser.add_argument("--lines", type=int, default=10**7, help="of the list of files; 0 is none (default: 10^7)")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many (default: 3)")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


def row(form: str, n_entries: int, repeats: int, path: Path) -> str:
    """Save and load a map in processes of their own."""
    save_s, save_mb = best(["save", form, str(n_entries), str(path)], repeats)
    load_s, load_mb = best(["load", form, str(n_entries), str(path)], repeats)
    size_mb = path.stat().st_size / 1e6
    times = f"{save_s:9.3f}{save_mb:9.0f}{load_s:9.3f}{load_mb:9.0f}{load_s / n_entries * 1e6:10.2f}"
    return f"{form:10}{n_entries:10}{size_mb:8.1f}{times}"


def best(words: Sequence[str], repeats: int) -> tuple[float, float]:
    """Return the least seconds and the least memory of some processes."""
    command = [sys.executable, __file__, "--one", *words]
    figures = []
    for _ in range(repeats):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode:
            sys.exit(done.stderr)
        figures.append([float(word) for word in done.stdout.split()])
    return min(seconds for seconds, _ in figures), min(mb for _, mb in figures)


def measure_here(what: str, form: str, n_entries: str, path: str) -> tuple[float, float]:
    """Save or load a map in this process; return seconds and megabytes."""
    data = DataMap(products(int(n_entries))) if what == "save" else None
    start = time.perf_counter()
    if data is None:
        data = DataMap.load(path)
    else:
        data.save(path, form)
    seconds = time.perf_counter() - start
    if len(data) != int(n_entries):
        sys.exit(f"{len(data)} entries instead of {n_entries}")
    return seconds, peak_mb(os.getpid())


def products(n_entries: int) -> list[DataProduct]:
    """Return a map on 1,000 hosts; a million entries stay below the 64 MiB that a mapfile may have."""
    per_host = -(-n_entries // HOSTS)
    return [DataProduct(f"n{i // per_host:03d}", f"/data/L{i:07d}.MS") for i in range(n_entries)]


def peak_mb(pid: int) -> float:
    """Return the most memory a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def measure_stream(n_lines: int, directory: Path) -> str:
    """Make a map of a list of files, from a pipe to a file."""
    names = ["seq", "-f", "/data/night/L%08.0f.MS", str(n_lines)]
    words = [*PIPELINE, "mapfile", "make", "--from-file", "-", "--hosts", f"n[000-{HOSTS - 1}]"]
    start = time.perf_counter()
    with open(directory / "out", "wb") as output, subprocess.Popen(names, stdout=subprocess.PIPE) as lister:
        maker = subprocess.Popen(words, stdin=lister.stdout, stdout=output)
        _, status, usage = os.wait4(maker.pid, 0)  # for its memory
        maker.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if maker.returncode:
        sys.exit(f"pipeline mapfile make: status {maker.returncode}")
    size_mb = (directory / "out").stat().st_size / 1e6
    return f"{seconds:.1f} s, peak {usage.ru_maxrss * 1024 / 1e6:.0f} MB, {size_mb:.0f} MB written"


if __name__ == "__main__":
    sys.exit(main())
