"""
The schedule: which job starts where and when.

    job state    event that moves it                          to
    PENDING      a slot is free on one of its hosts           DISPATCHED
    PENDING      none of its hosts can be reached             LOST
    PENDING      the user cancels it                          CANCELLED
    DISPATCHED   AttemptStarted                               RUNNING
    DISPATCHED,  AttemptEnded                                 what the host says, or PENDING if it
    RUNNING                                                   failed and has attempts left
    DISPATCHED,  HostLost                                     LOST
    RUNNING

    host state   event                                        to
    NEW          the first job for it                         CONNECTING
    CONNECTING   HostUp                                       UP
    CONNECTING   HostFailed                                   WAITING, or DOWN when permanent or too often
    WAITING      its wait has passed                          CONNECTING
    UP           HostLost, jobs wait for it                   WAITING, or DOWN when permanent or too often
    UP           HostLost, nothing waits for it               NEW, or DOWN when permanent
    DOWN         Submitted names it, not when permanent       NEW, and so CONNECTING

Pure: no I/O, no clock, no randomness of its own. `handle(event, now_s)` returns instructions; a report that is not
about a job's current attempt is counted in `stale` and changes nothing.
"""

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from heapq import heappop, heappush

from pipeline.model.jobs import JobState
from pipeline.model.parameters import Parameters
from pipeline.schedule.events import (
    AttemptEnded,
    AttemptStarted,
    Cancel,
    CancelAsked,
    Connect,
    Event,
    Finished,
    HostFailed,
    HostLost,
    HostUp,
    Instruction,
    Start,
    Submitted,
    TimePassed,
)
from pipeline.schedule.records import HostRecord, HostState, InvalidTransition, JobRecord

__all__ = ["Schedule"]

_S = JobState
_FINAL = {state for state in _S if state.is_final}
_MOVES: dict[JobState, set[JobState]] = {
    _S.PENDING: {_S.DISPATCHED, _S.LOST, _S.CANCELLED},
    _S.DISPATCHED: {_S.RUNNING, _S.PENDING, *_FINAL},
    _S.RUNNING: {_S.PENDING, *_FINAL},
}
_MAY_TRY_AGAIN = {_S.FAILED, _S.SIGNALED, _S.TIMEOUT}
_STORY_EVENTS = 50


class Schedule:
    """
    The state of all jobs and hosts of one run.

    Attributes:
        stale: Reports that were ignored.
    """

    def __init__(self, parameters: Parameters, random: Callable[[], float]) -> None:
        """Take waits and limits from `parameters`; `random` returns numbers in [0, 1)."""
        self._parameters = parameters
        self._random = random
        self._jobs: dict[int, JobRecord] = {}
        self._hosts: dict[str, HostRecord] = {}
        self._due: list[tuple[float, str]] = []  # heap: when a host is tried again or gets slots back
        self._story: deque[tuple[float, Event]] = deque(maxlen=_STORY_EVENTS)
        self._now_s = 0.0
        self.stale = 0

    def handle(self, event: Event, now_s: float) -> list[Instruction]:
        """
        Take in one event at monotonic time `now_s` and return what is to be done, in order.

        Raises:
            InvalidTransition: A bug of ours; carries the last events.
        """
        self._now_s = now_s
        self._story.append((now_s, event))
        return list(self._HANDLERS[type(event)](self, event))

    @property
    def deadline_s(self) -> float:
        """When `TimePassed` is due next; infinite when nothing waits for time."""
        return self._due[0][0] if self._due else float("inf")

    def state(self, job_id: int) -> JobState:
        """Return where a job stands."""
        return self._jobs[job_id].state

    def retry_at_s(self, host: str) -> float | None:
        """Return when a host that failed is tried again; None if it is not."""
        record = self._hosts[host]
        return record.retry_at_s if record.state is HostState.WAITING else None

    def held_slots(self, host: str) -> tuple[int, float]:
        """Return how many slots of a host lost attempts keep, and when the last of them is free; (0, 0.0) if none."""
        return self._hosts[host].held_slots()

    # -- events

    def _submitted(self, event: Submitted) -> Iterator[Instruction]:
        self._revive({name for plan in event.jobs for name in plan.hosts})
        for plan in event.jobs:
            if plan.job_id in self._jobs:
                raise InvalidTransition(f"job {plan.job_id} submitted twice", self._story)
            self._jobs[plan.job_id] = job = JobRecord(plan)
            yield from self._enqueue(job)
        yield from self._fill(dict.fromkeys(name for plan in event.jobs for name in plan.hosts))

    def _host_up(self, event: HostUp) -> Iterator[Instruction]:
        host = self._hosts.get(event.host)
        if host is None or host.state is not HostState.CONNECTING:
            self.stale += 1
            return
        host.state = HostState.UP
        host.cores = max(1, event.cores)  # 0 would be no limit, and hosts can say anything
        yield from self._fill((event.host, *host.helpers))

    def _host_failed(self, event: HostFailed) -> Iterator[Instruction]:
        host = self._hosts.get(event.host)
        if host is None or host.state is not HostState.CONNECTING:
            self.stale += 1
            return
        yield from self._retry_or_give_up(host, event.reason, event.is_permanent)

    def _host_lost(self, event: HostLost) -> Iterator[Instruction]:
        host = self._hosts.get(event.host)
        if host is None or host.state is not HostState.UP:
            self.stale += 1
            return
        # Until its agent's lease is over nobody knows whether these processes are gone: their slots stay taken.
        free_at_s = self._now_s + self._parameters.lease + self._parameters.kill_grace + 5.0
        for job in [self._jobs[job_id] for job_id in host.running]:
            host.hold(job, free_at_s)
            heappush(self._due, (free_at_s, host.name))
            yield self._finish(job, _S.LOST, event.reason)
        if not event.is_permanent and not host.has_waiting():
            host.renew()  # nobody needs it now, so its absence proves nothing
            return
        host.trying_since_s = self._now_s
        yield from self._retry_or_give_up(host, event.reason, event.is_permanent)

    def _attempt_started(self, event: AttemptStarted) -> Iterator[Instruction]:
        job = self._current(event)
        if job is None or job.state is not _S.DISPATCHED:
            self.stale += 1
            return
        self._move(job, _S.RUNNING)
        yield from ()

    def _attempt_ended(self, event: AttemptEnded) -> Iterator[Instruction]:
        job = self._current(event)
        if job is None:
            self.stale += 1
            return
        host = self._hosts[event.host]
        host.release(job)
        host.failures = 0
        may_try_again = event.state in _MAY_TRY_AGAIN and job.attempt < job.plan.max_attempts
        if may_try_again and not job.is_cancelled:
            self._move(job, _S.PENDING)
            yield from self._enqueue(job)
            yield from self._fill(job.plan.hosts)
        else:
            yield self._finish(job, event.state, event.reason)
        yield from self._fill((event.host,))

    def _cancel_asked(self, event: CancelAsked) -> Iterator[Instruction]:
        for job_id in self._jobs if event.job_ids is None else sorted(event.job_ids):
            job = self._jobs.get(job_id)
            if job is None:
                self.stale += 1
            elif job.state is _S.PENDING:
                yield self._finish(job, _S.CANCELLED, "cancelled before it started")
            elif not job.state.is_final and not job.is_cancelled:
                job.is_cancelled = True
                assert job.host is not None
                yield Cancel(job.plan.job_id, job.attempt, job.host)

    def _time_passed(self, event: TimePassed) -> Iterator[Instruction]:
        due: dict[str, None] = {}
        while self._due and self._due[0][0] <= self._now_s:
            due[heappop(self._due)[1]] = None
        for host in map(self._host, due):
            if host.state is HostState.WAITING and host.retry_at_s <= self._now_s:
                host.state = HostState.CONNECTING
                yield Connect(host.name)
        yield from self._fill([name for name in due if self._hosts[name].free_held(self._now_s)])

    _HANDLERS: dict[type[Event], Callable[..., Iterator[Instruction]]] = {  # noqa: RUF012  # never changed
        Submitted: _submitted,
        HostUp: _host_up,
        HostFailed: _host_failed,
        HostLost: _host_lost,
        AttemptStarted: _attempt_started,
        AttemptEnded: _attempt_ended,
        CancelAsked: _cancel_asked,
        TimePassed: _time_passed,
    }

    # -- steps

    def _revive(self, names: set[str]) -> None:
        """Forget that these hosts are down, unless for good; what waits elsewhere may run on them again."""
        down = [self._hosts[name] for name in names if name in self._hosts]
        revived = {host.name: host for host in down if host.state is HostState.DOWN and not host.is_barred}
        for host in revived.values():
            host.renew()
        for job in self._jobs.values() if revived else ():
            if job.state is _S.PENDING and not revived.keys().isdisjoint(job.plan.hosts):
                self._queue_at(job, revived)

    def _enqueue(self, job: JobRecord) -> Iterator[Instruction]:
        """Queue a pending job at the first of its hosts that is not down, and let the others help out."""
        usable = self._queue_at(job, self._hosts)
        if not usable:
            reasons = "; ".join(self._hosts[name].verdict for name in job.plan.hosts)
            yield self._finish(job, _S.LOST, reasons)
            return
        for host in usable:
            if host.state is HostState.NEW:
                host.state = HostState.CONNECTING
                host.trying_since_s = self._now_s
                yield Connect(host.name)

    def _queue_at(self, job: JobRecord, names: Container[str]) -> list[HostRecord]:
        """Let a job wait at those of its hosts that are in `names` and not down; returns all that are not down."""
        usable = [host for host in map(self._host, job.plan.hosts) if host.state is not HostState.DOWN]
        better: tuple[str, ...] = ()
        for place, host in enumerate(usable):
            if host.name in names and host.enqueue(job, better):
                for other in usable[:place]:
                    other.helpers[host.name] = None
            better = (*better, host.name)
        return usable

    def _fill(self, names: Iterable[str]) -> Iterator[Instruction]:
        """Start what has a free slot on these hosts, each its own jobs before any helps out others."""
        hosts = [host for host in map(self._host, names) if host.state is HostState.UP]
        for next_job in (HostRecord.next_own, lambda host: host.next_other(self._must_wait)):
            for host in hosts:
                while job := next_job(host):
                    yield self._start(job, host)

    def _start(self, job: JobRecord, host: HostRecord) -> Start:
        self._move(job, _S.DISPATCHED)
        job.attempt += 1
        job.host = host.name
        host.occupy(job)
        return Start(job.plan.job_id, job.attempt, host.name)

    def _must_wait(self, better: tuple[str, ...]) -> bool:
        """Whether one of these hosts, which a job prefers, may still come up."""
        return any(self._hosts[name].state in (HostState.CONNECTING, HostState.WAITING) for name in better)

    def _retry_or_give_up(self, host: HostRecord, reason: str, is_permanent: bool) -> Iterator[Instruction]:
        """Wait twice as long as last time, and then try again; or fail what nobody else can run."""
        wait_s = min(self._parameters.retry_wait * 2**host.failures, self._parameters.retry_wait_max)
        wait_s *= 0.5 + self._random()
        host.failures += 1
        host.verdict = reason
        is_late = self._now_s + wait_s > host.trying_since_s + self._parameters.verdict_timeout
        if not (is_permanent or is_late or host.failures > self._parameters.connect_retries):
            host.state = HostState.WAITING
            host.retry_at_s = self._now_s + wait_s
            heappush(self._due, (host.retry_at_s, host.name))
            return
        host.state = HostState.DOWN
        host.is_barred = is_permanent
        for job in host.take_pending():
            yield from self._enqueue(job)
        yield from self._fill(host.helpers)

    def _host(self, name: str) -> HostRecord:
        if name not in self._hosts:
            self._hosts[name] = HostRecord(name)
        return self._hosts[name]

    def _current(self, event: AttemptStarted | AttemptEnded) -> JobRecord | None:
        """Return the job if the report is about its current attempt, from the host it was given to."""
        job = self._jobs.get(event.job_id)
        if job is None or job.state not in (_S.DISPATCHED, _S.RUNNING):
            return None
        return job if (job.attempt, job.host) == (event.attempt, event.host) else None

    def _finish(self, job: JobRecord, state: JobState, reason: str) -> Finished:
        self._move(job, state)
        return Finished(job.plan.job_id, state, job.host, reason)

    def _move(self, job: JobRecord, state: JobState) -> None:
        if state not in _MOVES.get(job.state, ()):
            what = f"job {job.plan.job_id} cannot go from {job.state.value} to {state.value}"
            raise InvalidTransition(what, self._story)
        job.state = state

    def check(self) -> None:
        """Assert everything that must hold between two events; for tests."""
        for host in self._hosts.values():
            host.check(self._jobs)
            assert host.state is not HostState.NEW or not host.has_waiting(), host.name
        for job in self._jobs.values():
            is_placed = job.state in (_S.DISPATCHED, _S.RUNNING)
            places = [host.name for host in self._hosts.values() if job.plan.job_id in host.running]
            assert places == ([job.host] if is_placed else []), (job.plan, job.state, places)
            assert job.attempt <= job.plan.max_attempts, job.plan
            if job.state is _S.PENDING:
                assert any(self._hosts[n].state is not HostState.DOWN for n in job.plan.hosts), job.plan
