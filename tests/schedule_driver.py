"""Drives a `Schedule` in tests: keeps the time and the attempts under way, so that a test says only what matters."""

from collections.abc import Sequence
from typing import Any

from pipeline.model.jobs import JobState
from pipeline.model.parameters import Parameters
from pipeline.schedule.events import (
    AttemptEnded,
    AttemptStarted,
    CancelAsked,
    Event,
    Finished,
    HostFailed,
    HostLost,
    HostUp,
    Instruction,
    JobPlan,
    Start,
    Submitted,
    TimePassed,
)
from pipeline.schedule.machine import Schedule


class ScheduleDriver:
    """
    A schedule with its clock.

    Attributes:
        now_s: Time of the next event.
        attempts: The last `Start` of each job.
        finished: The `Finished` of each job.
    """

    def __init__(self, random: float = 0.5, **parameters: Any) -> None:
        """Take `Parameters` by name; `random` is what the schedule's randomness always gives (0.5: no jitter)."""
        self.random = random
        self.schedule = Schedule(Parameters(**parameters), lambda: self.random)
        self.now_s = 0.0
        self.attempts: dict[int, Start] = {}
        self.finished: dict[int, Finished] = {}
        self._next_id = 1
        self._answered: list[Instruction] = []

    def handle(self, event: Event) -> list[Instruction]:
        """Feed one event now."""
        got = self.schedule.handle(event, self.now_s)
        self.attempts.update((one.job_id, one) for one in got if isinstance(one, Start))
        self.finished.update((one.job_id, one) for one in got if isinstance(one, Finished))
        self._answered = got
        return got

    def submit(self, host: str | Sequence[str], n: int = 1, **plan: Any) -> list[int]:
        """Submit n equal jobs for a host, or for several in order of preference; returns their ids."""
        hosts = (host,) if isinstance(host, str) else tuple(host)
        job_ids = list(range(self._next_id, self._next_id + n))
        self._next_id += n
        self.handle(Submitted(tuple(JobPlan(job_id, hosts, **plan) for job_id in job_ids)))
        return job_ids

    @property
    def answered(self) -> list[Instruction]:
        """What the last event gave."""
        return self._answered

    def up(self, host: str, cores: int = 8) -> list[Instruction]:
        """Let a host's agent answer."""
        return self.handle(HostUp(host, cores))

    def fail(self, host: str, reason: str = "no route", *, is_permanent: bool = False) -> list[Instruction]:
        """Let a connect fail."""
        return self.handle(HostFailed(host, reason, is_permanent))

    def lose(self, host: str, reason: str = "connection closed") -> list[Instruction]:
        """Let a session break."""
        return self.handle(HostLost(host, reason))

    def run(self, job_id: int) -> list[Instruction]:
        """Let the job's last attempt be reported as running."""
        start = self.attempts[job_id]
        return self.handle(AttemptStarted(job_id, start.attempt, start.host))

    def end(self, job_id: int, state: JobState = JobState.OK, reason: str = "") -> list[Instruction]:
        """Let the job's last attempt be reported as ended."""
        start = self.attempts[job_id]
        return self.handle(AttemptEnded(job_id, start.attempt, start.host, state, reason))

    def cancel(self, *job_ids: int) -> list[Instruction]:
        """Ask for the end of these jobs, or of all."""
        return self.handle(CancelAsked(frozenset(job_ids) if job_ids else None))

    def wait(self, seconds: float) -> list[Instruction]:
        """Let time pass."""
        self.now_s += seconds
        return self.handle(TimePassed())

    def state(self, job_id: int) -> JobState:
        """Return where a job stands."""
        return self.schedule.state(job_id)

    def started(self) -> list[tuple[int, str]]:
        """Return job and host of what the last event started."""
        return [(one.job_id, one.host) for one in self._answered if isinstance(one, Start)]
