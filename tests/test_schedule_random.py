"""Random histories of a schedule against a simple model."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from schedule_driver import ScheduleDriver

from pipeline.model.jobs import JobState
from pipeline.schedule.events import AttemptEnded, AttemptStarted, Cancel, Connect, Finished, HostLost, HostUp, Start

DISPATCHED, RUNNING, LOST = JobState.DISPATCHED, JobState.RUNNING, JobState.LOST
OK, FAILED, SIGNALED, TIMEOUT = JobState.OK, JobState.FAILED, JobState.SIGNALED, JobState.TIMEOUT
CANCELLED, REFUSED = JobState.CANCELLED, JobState.REFUSED
INFINITY = float("inf")
HELD_S = 60.0 + 5.0 + 5.0  # lease, kill grace and 5 s, with the default parameters

_HOSTS = ("a", "b", "c", "d", "e")
_LIMITS = (None, 0, 1, 2, 3)
_CORES = 2
_MAX_SLOTS = 3
_ENDS = (OK, FAILED, SIGNALED, TIMEOUT, CANCELLED, REFUSED)


class RandomHistory(RuleBasedStateMachine):
    """Random events, also stale and wrong ones, against a model that only knows what was started where."""

    def __init__(self) -> None:
        """Start with nothing submitted."""
        super().__init__()
        self.driver = ScheduleDriver(connect_retries=2)
        self.plans: dict[int, dict[str, Any]] = {}
        self.running: dict[int, Start] = {}
        self.final: dict[int, JobState] = {}
        self.held: list[tuple[float, str, int]] = []
        self.connecting: set[str] = set()
        self.up: set[str] = set()
        self.barred: set[str] = set()

    def took(self, got: list[Any]) -> None:
        """Hold what the schedule asks for against the model."""
        for one in got:
            match one:
                case Connect(host):
                    assert host not in self.connecting | self.up
                    assert host not in self.barred, "a permanent verdict was forgotten"
                    self.connecting.add(host)
                case Start(job, attempt, host):
                    assert host in self.up
                    assert host in self.plans[job]["hosts"]
                    assert job not in self.running, "two attempts at once"
                    assert job not in self.final, "a final job was started"
                    assert self.has_room(job, host, self.plans[job]["slots"])
                    self.plans[job]["attempts"] += 1
                    assert attempt == self.plans[job]["attempts"] <= self.plans[job]["max_attempts"]
                    self.running[job] = one
                case Finished(job, state, _, _):
                    assert job not in self.final, "a job became final twice"
                    assert job not in self.running
                    self.final[job] = state
                case Cancel(job, attempt, host):
                    assert self.running[job] == Start(job, attempt, host)

    def has_room(self, job: int, host: str, slots: int) -> bool:
        """Whether so many slots are free at the job's limit, counting lost attempts that may still run."""
        used = sum(self.plans[j]["slots"] for j, start in self.running.items() if start.host == host)
        used += sum(held for free_at_s, at, held in self.held if at == host and free_at_s > self.driver.now_s)
        limit = self.plans[job]["max_per_node"]
        limit = _CORES if limit is None else limit
        return limit == 0 or used == 0 or used + slots <= limit

    def waiting(self) -> list[int]:
        """Return the jobs that are neither under way nor final."""
        return [job for job in self.plans if job not in self.final and job not in self.running]

    def can_start(self, job: int, host: str) -> bool:
        """Whether nothing keeps a waiting job from starting there, not even the widest job before it."""
        hosts = self.plans[job]["hosts"]
        better = hosts[: hosts.index(host)]
        is_its_turn = all(name in self.up or self.is_idle(name) for name in better)
        return host in self.up and is_its_turn and self.has_room(job, host, _MAX_SLOTS)

    def is_idle(self, host: str) -> bool:
        """Whether nothing is done about a host: it was given up, or lost when nobody waited for it."""
        return host not in self.up | self.connecting and self.driver.schedule.retry_at_s(host) is None

    @rule()
    def submit_one(self) -> None:
        """Submit the plainest of jobs."""
        self.submit(["a"], None, 1, 1, 1)

    @rule(
        hosts=st.lists(st.sampled_from(_HOSTS), min_size=1, max_size=3),
        limit=st.sampled_from(_LIMITS),
        slots=st.integers(1, _MAX_SLOTS),
        max_attempts=st.integers(1, 3),
        n=st.integers(1, 4),
    )
    def submit(self, hosts: list[str], limit: int | None, slots: int, max_attempts: int, n: int) -> None:
        """Submit jobs, also for hosts that are down."""
        plan = {"max_per_node": limit, "slots": slots, "max_attempts": max_attempts}
        first = len(self.plans) + 1
        self.plans.update((job, {**plan, "hosts": hosts, "attempts": 0}) for job in range(first, first + n))
        self.driver.submit(hosts, n=n, **plan)
        self.took(self.driver.answered)
        assert not [host for host in hosts if self.is_idle(host) and host not in self.barred], "not tried afresh"

    @precondition(lambda self: self.connecting)
    @rule(data=st.data())
    def host_comes_up(self, data: st.DataObject) -> None:
        """Answer a connect."""
        host = data.draw(st.sampled_from(sorted(self.connecting)))
        self.connecting.discard(host)
        self.up.add(host)
        self.took(self.driver.up(host, _CORES))

    @precondition(lambda self: self.connecting)
    @rule(data=st.data(), is_permanent=st.sampled_from([False, False, True]))
    def host_fails(self, data: st.DataObject, is_permanent: bool) -> None:
        """Refuse a connect."""
        host = data.draw(st.sampled_from(sorted(self.connecting)))
        self.connecting.discard(host)
        if is_permanent:
            self.barred.add(host)
        self.took(self.driver.fail(host, is_permanent=is_permanent))

    @precondition(lambda self: self.up)
    @rule(data=st.data(), is_permanent=st.sampled_from([False, False, True]))
    def host_is_lost(self, data: st.DataObject, is_permanent: bool) -> None:
        """Break a session, and with it all attempts there."""
        host = data.draw(st.sampled_from(sorted(self.up)))
        self.up.discard(host)
        is_needed = any(host in self.plans[job]["hosts"] for job in self.waiting())
        lost = [job for job, start in self.running.items() if start.host == host]
        self.held += [(self.driver.now_s + HELD_S, host, self.plans[job]["slots"]) for job in lost]
        for job in lost:
            del self.running[job]
        if is_permanent:
            self.barred.add(host)
        self.took(self.driver.handle(HostLost(host, "cut", is_permanent)))
        assert all(self.final[job] is LOST for job in lost)
        assert is_needed or self.driver.schedule.retry_at_s(host) is None, "connected to again for nobody"

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def attempt_starts(self, data: st.DataObject) -> None:
        """Report an attempt as running, perhaps again."""
        self.took(self.driver.run(data.draw(st.sampled_from(sorted(self.running)))))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), state=st.sampled_from(_ENDS))
    def attempt_ends(self, data: st.DataObject, state: JobState) -> None:
        """Report the end of an attempt."""
        job = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[job]
        self.took(self.driver.end(job, state))

    @rule(
        job=st.integers(0, 20), attempt=st.integers(0, 4), host=st.sampled_from((*_HOSTS, "nobody")), ends=st.booleans()
    )
    def stray_report(self, job: int, attempt: int, host: str, ends: bool) -> None:
        """Report on what is not under way: ignored and counted."""
        if self.running.get(job) == Start(job, attempt, host):
            return
        before = self.driver.schedule.stale
        event = AttemptEnded(job, attempt, host, OK) if ends else AttemptStarted(job, attempt, host)
        assert self.driver.handle(event) == []
        assert self.driver.schedule.stale == before + 1

    @rule(host=st.sampled_from((*_HOSTS, "nobody")))
    def stray_news(self, host: str) -> None:
        """Tell of a host what cannot be: ignored and counted."""
        before = self.driver.schedule.stale
        strays = [HostLost(host, "")] if host not in self.up else []
        strays += [HostUp(host, 99)] if host not in self.connecting else []
        assert [self.driver.handle(event) for event in strays] == [[]] * len(strays)
        assert self.driver.schedule.stale == before + len(strays)

    @rule(jobs=st.none() | st.frozensets(st.integers(0, 20), max_size=4))
    def cancel(self, jobs: frozenset[int] | None) -> None:
        """Cancel some or all, known or not."""
        self.took(self.driver.cancel(*(jobs or ())))

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, HELD_S]))
    def time_passes(self, seconds: float) -> None:
        """Let time pass, also when nothing is due."""
        self.took(self.driver.wait(seconds))

    @invariant()
    def holds_together(self) -> None:
        """The schedule's own invariants hold, and final states never change."""
        self.driver.schedule.check()
        assert all(self.driver.state(job) is state for job, state in self.final.items())
        assert all(self.driver.state(job) in (DISPATCHED, RUNNING) for job in self.running)

    @invariant()
    def leaves_no_slot_empty(self) -> None:
        """No job waits that could run."""
        assert not [
            (job, host) for job in self.waiting() for host in self.plans[job]["hosts"] if self.can_start(job, host)
        ]

    def teardown(self) -> None:
        """When all hosts answer and all attempts end, every job becomes final."""
        for _ in range(1000):
            if len(self.final) == len(self.plans):
                return
            for host in sorted(self.connecting):
                self.connecting.discard(host)
                self.up.add(host)
                self.took(self.driver.up(host, _CORES))
            for job in sorted(self.running):
                del self.running[job]
                self.took(self.driver.end(job))
            if self.driver.schedule.deadline_s < INFINITY:
                self.took(self.driver.wait(max(0.0, self.driver.schedule.deadline_s - self.driver.now_s)))
        raise AssertionError([job for job in self.plans if job not in self.final])


@settings(max_examples=300, deadline=None, database=None)
@given(
    wanted=st.lists(st.lists(st.sampled_from(_HOSTS), min_size=1, max_size=4, unique=True), min_size=1, max_size=12),
    order=st.permutations(_HOSTS),
    dead=st.sets(st.sampled_from(_HOSTS), max_size=2),
)
def test_a_host_that_can_help_does(wanted: list[list[str]], order: list[str], dead: set[str]) -> None:
    """In whatever order hosts answer or are given up, none is idle while a job that it may take waits."""
    driver = ScheduleDriver()
    jobs = {driver.submit(hosts, max_per_node=1)[0]: hosts for hosts in wanted}
    answered: set[str] = set()
    for host in (name for name in order if any(name in hosts for hosts in wanted)):
        answered.add(host)
        got = driver.fail(host, is_permanent=True) if host in dead else driver.up(host)

        idle = answered - dead - {start.host for start in driver.attempts.values()}
        waiting = [hosts for job, hosts in jobs.items() if driver.state(job) is JobState.PENDING]
        assert not [
            (hosts, hosts[i])
            for hosts in waiting
            for i in range(len(hosts))
            if hosts[i] in idle and answered.issuperset(hosts[:i])
        ], got


TestRandomHistory = RandomHistory.TestCase
TestRandomHistory.settings = settings(max_examples=100, stateful_step_count=30, deadline=None, database=None)
