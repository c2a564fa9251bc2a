"""Counting a run: how many jobs are done, failed, running and waiting, on which hosts, and how long it may take."""

from collections import deque
from dataclasses import dataclass, field

from pipeline.model.jobs import JobState
from pipeline.run.events import Event, HostChanged, JobEnded, JobFinished, JobsSubmitted, JobStarted
from pipeline.view.text import format_duration

__all__ = ["HostTally", "Tally"]

_WINDOW = 60  # seconds in which jobs became final: the last minute of short jobs, the last 60 long ones
_IDLE_FACTOR = 2.0  # after so many times the longest recent job without an end, throughput says nothing
_IDLE_MIN_S = 10.0


@dataclass(slots=True)
class HostTally:
    """Jobs on one host; `assigned` have it as their first choice, `state` is the last one reported."""

    host: str
    assigned: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    state: str = ""


@dataclass
class Tally:
    """
    What the events of a run add up to; `done + running + failed + waiting == total` after each of them.

    Events that make no sense (a job that ends twice, or was never submitted) are bent to fit: a display must not
    end a run.

    Attributes:
        total: Jobs submitted.
        done, failed: Jobs that are final, OK or otherwise.
    """

    total: int = 0
    done: int = 0
    failed: int = 0
    hosts: dict[str, HostTally] = field(default_factory=dict)
    _running: dict[int, str] = field(default_factory=dict)  # job_id: host
    _final: set[int] = field(default_factory=set)
    _ends: deque[tuple[int, int]] = field(default_factory=deque)  # (second, jobs that became final in it)
    _durations: deque[float] = field(default_factory=lambda: deque(maxlen=50))
    _base_s: float | None = None  # where the window begins
    _last_end_s: float = 0.0

    @property
    def running(self) -> int:
        """Jobs that run now."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Jobs that neither run nor are final, those between two attempts included."""
        return self.total - self.final - self.running

    @property
    def final(self) -> int:
        """Jobs that are final."""
        return self.done + self.failed

    @property
    def remaining(self) -> int:
        """Jobs that are not final."""
        return self.total - self.final

    def handle(self, event: Event, now_s: float) -> None:
        """Count an event that happened at `now_s` (monotonic seconds)."""
        match event:
            case JobsSubmitted():
                self._submitted(event)
            case JobStarted():
                self._started(event, now_s)
            case JobEnded():
                self._ended(event)
            case JobFinished():
                self._finished(event, now_s)
            case HostChanged():
                self._host(event.host).state = event.state

    def left_s(self, now_s: float) -> float | None:
        """Estimate the time left from the recent throughput, in seconds; None if nothing can be said."""
        ended = sum(number for _, number in self._ends)
        span_s = self._last_end_s - (self._base_s or 0.0)
        if not ended or span_s <= 0.0 or not self.remaining:
            return None
        idle_s = now_s - self._last_end_s
        if idle_s > max(_IDLE_MIN_S, _IDLE_FACTOR * max(self._durations, default=0.0)):
            return None
        # From the last end, not from now: jobs that end in step would make the rate swing with their period.
        return max(0.0, self.remaining * span_s / ended - idle_s)

    def line(self, now_s: float) -> str:
        """Return e.g. `37 of 500 done, 3 failed, 8 running on 2 hosts, about 2 min left`."""
        parts = [f"{self.done} of {self.total} done"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.running:
            hosts = len(set(self._running.values()))
            parts.append(f"{self.running} running on {hosts} host{'s' if hosts > 1 else ''}")
        left_s = self.left_s(now_s)
        if left_s is not None:
            parts.append(f"about {_rounded(left_s)} left")
        return ", ".join(parts)

    def busiest(self, number: int) -> list[HostTally]:
        """Return at most `number` hosts, those with the most jobs running, then ended, first."""
        key = [(-host.running, -host.done - host.failed, name) for name, host in self.hosts.items()]
        return [self.hosts[name] for _, _, name in sorted(key)[:number]]

    def _submitted(self, event: JobsSubmitted) -> None:
        if not self.remaining:  # a new step: the pause before it says nothing about throughput
            self._ends.clear()
            self._base_s = None
        self.total += max(0, event.count)
        for name, count in event.hosts.items():
            self._host(name).assigned += count

    def _started(self, event: JobStarted, now_s: float) -> None:
        if event.job_id in self._final:
            return
        self._stop(event.job_id)
        self._make_room()
        self._running[event.job_id] = event.host
        self._host(event.host).running += 1
        if self._base_s is None:
            self._base_s = now_s

    def _ended(self, event: JobEnded) -> None:
        self._stop(event.job_id)
        if event.duration_s >= 0:  # not for NaN
            self._durations.append(event.duration_s)

    def _finished(self, event: JobFinished, now_s: float) -> None:
        if event.job_id in self._final:
            return
        self._stop(event.job_id)
        self._make_room()
        self._final.add(event.job_id)
        is_ok = event.state is JobState.OK
        self.done += is_ok
        self.failed += not is_ok
        if event.host is not None:
            host = self._host(event.host)
            host.done += is_ok
            host.failed += not is_ok
        self._note_end(now_s)

    def _note_end(self, now_s: float) -> None:
        self._base_s = now_s if self._base_s is None else self._base_s
        self._last_end_s = now_s
        second = int(now_s)
        if self._ends and self._ends[-1][0] == second:
            self._ends[-1] = (second, self._ends[-1][1] + 1)
            return
        self._ends.append((second, 1))
        if len(self._ends) > _WINDOW:
            self._base_s = self._ends.popleft()[0] + 1.0

    def _stop(self, job_id: int) -> None:
        name = self._running.pop(job_id, None)
        if name is not None:
            self.hosts[name].running -= 1

    def _make_room(self) -> None:
        """A job that nobody submitted: it is there, so it counts."""
        if self.waiting <= 0:
            self.total += 1

    def _host(self, name: str) -> HostTally:
        if name not in self.hosts:
            self.hosts[name] = HostTally(name)
        return self.hosts[name]


def _rounded(seconds: float) -> str:
    """An estimate is not known to the second: fives below a minute, minutes above."""
    if seconds < 57.5:
        return f"{max(5, round(seconds / 5) * 5)} s"
    return format_duration(round(seconds / 60) * 60)
