"""
What happens in a run, as told to whoever watches it: progress now, others later.

Nobody changes an event, but none is frozen: with several for every job, that would cost twice as much.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.model.jobs import JobState

__all__ = ["Event", "HostChanged", "JobEnded", "JobFinished", "JobStarted", "JobsSubmitted"]


@dataclass(slots=True)
class JobsSubmitted:
    """`count` more jobs are to be run; `hosts` says how many have each host as their first choice."""

    count: int
    hosts: Mapping[str, int]


@dataclass(slots=True)
class JobStarted:
    """An attempt of a job runs on a host."""

    job_id: int
    host: str


@dataclass(slots=True)
class JobEnded:
    """An attempt ended; the job may get another one. `duration_s` is by the host's clock."""

    job_id: int
    host: str
    state: JobState
    duration_s: float


@dataclass(slots=True)
class JobFinished:
    """A job is final; `host` is None if it never was on one."""

    job_id: int
    host: str | None
    state: JobState


@dataclass(slots=True)
class HostChanged:
    """A host is in another state, and why."""

    host: str
    state: str
    reason: str


Event = JobsSubmitted | JobStarted | JobEnded | JobFinished | HostChanged
