"""
What the schedule is told (events) and what it answers (instructions).

Nobody changes one, but none is frozen: with several for every job, that would cost twice as much.
"""

from dataclasses import dataclass

from pipeline.model.jobs import JobState

__all__ = [
    "AttemptEnded",
    "AttemptStarted",
    "Cancel",
    "CancelAsked",
    "Connect",
    "Event",
    "Finished",
    "HostFailed",
    "HostLost",
    "HostUp",
    "Instruction",
    "JobPlan",
    "Start",
    "Submitted",
    "TimePassed",
]


@dataclass(slots=True)
class JobPlan:
    """
    What the schedule needs to know of a job.

    Attributes:
        hosts: Most preferred first, at least one.
        max_per_node: Slots of a host that must not be exceeded when it starts; 0 is no limit, None as many as the
            host has cores.
        slots: It takes so many; with more than `max_per_node` it runs alone.
        max_attempts: After so many failures it is final.
    """

    job_id: int
    hosts: tuple[str, ...]
    max_per_node: int | None = None
    slots: int = 1
    max_attempts: int = 1


@dataclass(slots=True)
class Submitted:
    """Jobs to run; their ids are new."""

    jobs: tuple[JobPlan, ...]


@dataclass(slots=True)
class HostUp:
    """An agent answered."""

    host: str
    cores: int


@dataclass(slots=True)
class HostFailed:
    """A `Connect` did not work; nothing was started."""

    host: str
    reason: str
    is_permanent: bool = False


@dataclass(slots=True)
class HostLost:
    """A session that was up is gone, and with it what ran there."""

    host: str
    reason: str
    is_permanent: bool = False


@dataclass(slots=True)
class AttemptStarted:
    """The host says that an attempt runs."""

    job_id: int
    attempt: int
    host: str


@dataclass(slots=True)
class AttemptEnded:
    """The host's final report on an attempt."""

    job_id: int
    attempt: int
    host: str
    state: JobState
    reason: str = ""


@dataclass(slots=True)
class CancelAsked:
    """The user does not want these jobs any more; None is all."""

    job_ids: frozenset[int] | None = None


@dataclass(slots=True)
class TimePassed:
    """Nothing happened but time; due at `Schedule.deadline_s`."""


@dataclass(slots=True)
class Connect:
    """Start an agent on a host; answered by `HostUp` or `HostFailed`."""

    host: str


@dataclass(slots=True)
class Start:
    """Send an attempt to its host."""

    job_id: int
    attempt: int
    host: str


@dataclass(slots=True)
class Cancel:
    """End an attempt; its slot stays taken until the host reports."""

    job_id: int
    attempt: int
    host: str


@dataclass(slots=True)
class Finished:
    """A job is final; `host` is where its last attempt was, None if it had none."""

    job_id: int
    state: JobState
    host: str | None
    reason: str = ""


Event = Submitted | HostUp | HostFailed | HostLost | AttemptStarted | AttemptEnded | CancelAsked | TimePassed
Instruction = Connect | Start | Cancel | Finished
