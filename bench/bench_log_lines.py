"""
Lines per second from jobs into the log files, the master's processor time for a line, and its memory.

Eight jobs at once write a million lines in all to their standard output, on this machine and on a throw-away SSH host;
or log a tenth of that as records. Every line must be in the host's log file.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.testing import is_sshd_available, ssh_hosts

RECIPE = Path(__file__).resolve().parent / "recipes/master/lines.py"
RECORDS_SHARE = 10  # so many times fewer records than lines
TIMEOUT_S = 900.0


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--lines", type=int, default=1_000_000, help="in all (default: 1000000)")
    parser.add_argument("--rounds", type=int, default=3, help="all ways in turn (default: 3)")
    options = parser.parse_args()
    if not is_sshd_available():
        print("sshd is not installed: only jobs on this machine can be measured")
        report({"local": "[remote]\nmethod = local\n"}, options)
        return 0
    with ssh_hosts(1, names=["localhost"]) as hosts:
        texts = {client: hosts.config_text() + f"ssh_client = {client}\n" for client in ("paramiko", "openssh")}
        report({"local": "[remote]\nmethod = local\n", **texts}, options)
    return 0


def report(configs: dict[str, str], options: argparse.Namespace) -> None:
    """Measure every way in turn and print a row for each."""
    rows: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(options.rounds):
        for kind, lines in (("stdout", options.lines), ("records", options.lines // RECORDS_SHARE)):
            for way, config in configs.items():
                rows.setdefault((kind, way), []).append(measure(kind, lines, config))
    print(f"{'KIND':8} {'WAY':9} {'LINES/S':>9} {'RANGE':>19} {'MASTER US/LINE':>15} {'PEAK MB':>8}")
    for (kind, way), found in rows.items():
        rates = [one["lines"] / one["seconds"] for one in found]
        us = statistics.median(one["cpu_s"] / one["lines"] * 1e6 for one in found)
        spread = f"{min(rates):.0f} .. {max(rates):.0f}"
        peak = max(one["peak_mb"] for one in found)
        print(f"{kind:8} {way:9} {statistics.median(rates):>9.0f} {spread:>19} {us:>15.2f} {peak:>8.0f}")


def measure(kind: str, lines: int, config: str) -> dict[str, float]:
    """Run the recipe once and check that every line is in the log file."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "pipeline.cfg").write_text(config)
        words = [sys.executable, str(RECIPE), f"--lines={lines}", f"--kind={kind}"]
        done = subprocess.run(words, cwd=directory, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode:
            raise SystemExit(f"exit status {done.returncode}: {done.stderr[-2000:]}")
        [path] = Path(directory).glob("runs/*/logs/*/localhost.log")
        with path.open("rb") as file:
            written = sum(1 for _ in file)
    if written != lines:
        raise SystemExit(f"{kind}: {written} of {lines} lines in the log file")
    found = dict(line.split(" = ") for line in done.stdout.splitlines() if " = " in line)
    return {"lines": lines, **{name: float(found[name]) for name in ("seconds", "cpu_s", "peak_mb")}}


if __name__ == "__main__":
    sys.exit(main())
