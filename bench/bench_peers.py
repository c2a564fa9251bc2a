"""
The same jobs by us and by others, in turn on this machine: one table of rates and ratios.

README.md beside this file tells how to read it. `make bench` installs what is compared; what cannot be installed or
fails has a row that says why.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import namespaces
from machine import tell
from peers.table import PEERS, TASKS, Peer, Task
from peers.works import Work
from report import Row, about, as_json, table
from running import Sample, run_peer

from pipeline.errors import PipelineError
from pipeline.testing import SshHosts, is_sshd_available, ssh_hosts

LEAST_JOBS = 100  # of a peer that gets a share


def main() -> int:
    """Measure what was asked for, print the table, and write it: of what there is, if something ends us before."""
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # hosts and peers end with us
    rows: list[Row] = []
    try:
        for name in options.only:
            tell(f"{name}: {TASKS[name].what}")
            measure(name, TASKS[name], options, rows)
    finally:
        show(rows, options)
    return 0


def parse_options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    names = [peer.name for peer in PEERS]
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of jobs and hosts (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, help="each peer once in each (default: 3)")
    parser.add_argument("--only", metavar="WORK,...", default=",".join(TASKS), help=f"of {', '.join(TASKS)}")
    parser.add_argument("--peers", metavar="PEER,...", default=",".join(names), help=f"of {', '.join(names)}")
    parser.add_argument("--full", action="store_true", help="all jobs for slow peers too: takes hours")
    parser.add_argument("--at-once", type=int, default=4, help="jobs at a time on a host (default: 4)")
    parser.add_argument("--timeout", type=float, default=900.0, help="for one run, s (default: 900)")
    parser.add_argument("-o", "--output", metavar="NAME", help="write NAME.txt and NAME.json too")
    options = parser.parse_args(words)
    options.only, options.peers = options.only.split(","), options.peers.split(",")
    for given, known in ((options.only, list(TASKS)), (options.peers, names)):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"expected some of {', '.join(known)}, got {', '.join(unknown)}")
    if options.scale <= 0 or min(options.rounds, options.at_once) < 1:
        parser.error("--scale, --rounds, --at-once: expected positive numbers")
    return options


def show(rows: Sequence[Row], options: argparse.Namespace) -> None:
    """Print the table, and write it if that was asked for."""
    text = f"{about(options)}\n\n{table(rows)}\n"
    print(text, end="", flush=True)
    if options.output:
        Path(f"{options.output}.txt").write_text(text)
        Path(f"{options.output}.json").write_text(json.dumps(as_json(rows, options), indent=1) + "\n")


def measure(name: str, task: Task, options: argparse.Namespace, all_rows: list[Row]) -> None:
    """Run all peers of a work in turn, several rounds; their rows are in `all_rows` from the start."""
    peers = [peer for peer in PEERS if name in peer.tasks and peer.name in options.peers]
    rows = [Row(name, task, peer, jobs_of(task, options.scale)) for peer in peers]
    all_rows += rows
    with hosts_for(task, options.scale) as hosts:
        for row in rows:
            row.problem = row.peer.missing or (hosts if isinstance(hosts, str) and row.peer.over_ssh else "")
        for number in range(options.rounds * task.repeats):
            for row in rows:
                if not row.problem:
                    tell(f"{name}, round {number + 1}: {row.peer.name}")
                    add_sample(row, hosts if isinstance(hosts, SshHosts) else None, options)


def add_sample(row: Row, hosts: SshHosts | None, options: argparse.Namespace) -> None:
    """Run a peer once, in a folder of its own."""
    share = 1.0 if options.full else row.peer.share.get(row.work, 1.0)
    count = max(round(row.jobs * share), min(row.jobs, LEAST_JOBS))
    folder = Path(tempfile.mkdtemp(prefix="pipeline-bench-"))
    try:
        work = Work(row.task.kind, count, folder, options.at_once)
        work.prepare()
        sample = run_one(row.peer, work, hosts if row.peer.over_ssh else None, options.timeout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    row.problem = sample.problem
    if not sample.problem:
        row.samples.append(sample)


def run_one(peer: Peer, work: Work, hosts: SshHosts | None, timeout_s: float) -> Sample:
    """Run a peer and look what the hosts' sshds have to say."""
    before = namespaces.refused(hosts) if hosts else 0
    sample = run_peer(peer.command(work, hosts), work, timeout_s)
    return replace(sample, refused=namespaces.refused(hosts) - before) if hosts else sample


def jobs_of(task: Task, scale: float) -> int:
    """Return how many jobs a work has: on every host as many, if there are several."""
    if task.hosts > 1:
        return task.count // task.hosts * hosts_of(task, scale)
    return max(1, round(task.count * scale))


def hosts_of(task: Task, scale: float) -> int:
    """Return how many hosts a work has."""
    return min(task.hosts, max(2, round(task.hosts * scale)))


@contextmanager
def hosts_for(task: Task, scale: float) -> Iterator[SshHosts | str]:
    """Yield the hosts of a work, or why there are none. What the block raises is not caught."""
    with ExitStack() as stack:
        try:
            hosts = stack.enter_context(started_hosts(task, scale))
        except (OSError, subprocess.SubprocessError, PipelineError) as error:
            hosts = str(error)
        yield hosts


@contextmanager
def started_hosts(task: Task, scale: float) -> Iterator[SshHosts | str]:
    """Start the hosts of a work; yield what is missing for it where that is known before."""
    n = hosts_of(task, scale)
    if task.hosts > 1 and (problem := namespaces.why_not()):
        yield problem
    elif task.hosts > 1:
        with namespaces.namespace_hosts(n, sys.executable) as hosts:
            yield hosts
    elif not is_sshd_available():
        yield "no sshd (Debian: apt install openssh-server)"
    else:
        # The example recipe's job is for localhost.
        with ssh_hosts(1, names=["localhost" if task.kind == "example" else "node1"], python=sys.executable) as hosts:
            yield hosts


if __name__ == "__main__":
    sys.exit(main())
