"""
The demo: two recipes over four throw-away SSH hosts on this machine, and a proof that nothing was lost or mixed up.

The second runs `sha256sum` over every Python file of the standard library; each digest must be the one that hashlib
finds. Without an sshd all jobs run locally. Ends with status 1 if anything differs.
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from pipeline import store_data_map
from pipeline.testing import is_sshd_available, ssh_hosts

PROJECT = Path(__file__).resolve().parents[1]
HOSTS = ["localhost", "node2", "node3", "node4"]  # the example runs on localhost: over SSH too
TIMEOUT_S = 900


def main() -> int:
    """Run both recipes in a temporary directory and return the exit status."""
    with tempfile.TemporaryDirectory(prefix="pipeline-demo-") as directory, hosts_config() as (names, config):
        work = Path(directory)
        (work / "pipeline.cfg").write_text(config)
        run_recipe(work, "example_parallel", "-d")
        return check_digests(work, names)


@contextmanager
def hosts_config() -> Iterator[tuple[list[str], str]]:
    """Yield the names of the hosts and a pipeline.cfg that reaches them."""
    if not is_sshd_available():
        print("no sshd here (Debian: apt install openssh-server): all jobs run locally, without SSH")
        yield HOSTS, "[remote]\nmethod = local\n"
        return
    with ssh_hosts(len(HOSTS), names=HOSTS) as hosts:
        yield hosts.names, hosts.config_text()


def check_digests(work: Path, names: list[str]) -> int:
    """Let the hosts compute the digests of the standard library's files and compare; returns the exit status."""
    files = standard_library()
    store_data_map(work / "library.mapfile", [(host, str(file)) for host, file in zip(cycle(names), files)])
    began_s = time.monotonic()
    run_recipe(
        work, "executable", "--executable", "sha256sum", "--start-time", "2000-01-01T00:00:00", "library.mapfile"
    )
    took_s = time.monotonic() - began_s
    results = work / "runs/executable/results/2000-01-01T00:00:00/executable.jsonl"
    entries = {entry["file"]: entry for entry in map(json.loads, results.read_text().splitlines())}
    wrong = [file for file in files if not is_right(file, entries.get(str(file), {}))]
    for file in wrong[:10]:
        print(f"{file}: expected the digest of hashlib, got {entries.get(str(file))}", file=sys.stderr)
    hosts = len({entry["host"] for entry in entries.values()})
    print(
        f"{len(files) - len(wrong)} of {len(files)} digests are right: "
        f"{hosts} hosts, {took_s:.1f} s, {len(files) / took_s:.0f} jobs/s"
    )
    return 1 if wrong or len(entries) != len(files) else 0


def standard_library() -> list[Path]:
    """Return its Python files, in order, without installed packages and links."""
    top = Path(sysconfig.get_path("stdlib"))
    found = (path for path in top.rglob("*.py") if not {"site-packages", "dist-packages"} & set(path.parts))
    return sorted(path for path in found if stat.S_ISREG(path.lstat().st_mode))


def is_right(file: Path, entry: Mapping[str, str]) -> bool:
    """Whether an entry of the results says what hashlib says."""
    # sha256sum puts a backslash before the digest where it had to escape something in the name.
    digest = entry.get("stdout", "").removeprefix("\\")[:64]
    return digest == hashlib.sha256(file.read_bytes()).hexdigest()


def run_recipe(work: Path, recipe: str, *words: str) -> None:
    """Run a recipe as a user does; ends the demo if it fails."""
    command = [sys.executable, str(PROJECT / f"recipes/master/{recipe}.py"), *words]
    print(f"$ python recipes/master/{recipe}.py {' '.join(words)}", flush=True)
    status = subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False).returncode
    if status:
        raise SystemExit(f"{recipe} ended with status {status}, expected 0")


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
