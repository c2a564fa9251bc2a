"""What the schedule keeps of each job and each host."""

import enum
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, MutableSequence
from itertools import chain

from pipeline.model.jobs import JobState
from pipeline.schedule.events import Event, JobPlan

__all__ = ["HostRecord", "HostState", "InvalidTransition", "JobRecord"]

_LONG = 64  # jobs in a queue from which on a list's first one takes long to remove


class InvalidTransition(Exception):
    """The schedule was asked for the impossible: a bug of ours. Tells how it got there."""

    def __init__(self, what: str, story: Iterable[tuple[float, Event]]) -> None:
        """Add the last events, oldest first, to `what`."""
        lines = [f"  {now_s:.3f} {event!s:.300}" for now_s, event in story]  # Submitted may hold 10^5 jobs
        super().__init__("\n".join([what, *lines]))


class HostState(enum.Enum):
    """Whether a host can take jobs."""

    NEW = "NEW"
    CONNECTING = "CONNECTING"
    WAITING = "WAITING"
    UP = "UP"
    DOWN = "DOWN"


class JobRecord:
    """A job, its state, and its current or last attempt."""

    __slots__ = ("attempt", "host", "is_cancelled", "plan", "state")

    def __init__(self, plan: JobPlan) -> None:
        """Start PENDING, with no attempt."""
        self.plan = plan
        self.state = JobState.PENDING
        self.attempt = 0
        self.host: str | None = None
        self.is_cancelled = False


class HostRecord:
    """
    A host, its slots and the jobs waiting for it.

    Attributes:
        running: Slots taken, by job id.
        failures: Connects and sessions that failed since an attempt last ended here.
        helpers: Other hosts that have, or had, jobs which prefer this one, in order of appearance: they alone can do
            more when this one comes up or is given up.
        verdict: Why it could not be reached last.
        is_barred: It is DOWN for good: trying again would give the same answer.
    """

    def __init__(self, name: str) -> None:
        """Start NEW, with nothing known of it."""
        self.name = name
        self.state = HostState.NEW
        self.cores = 1
        self.running: dict[int, int] = {}
        self.failures = 0
        self.helpers: dict[str, None] = {}
        self.verdict = ""
        self.is_barred = False
        self.retry_at_s = float("inf")
        self.trying_since_s = 0.0
        self._used = 0
        self._held: list[tuple[float, int]] = []  # slots of lost attempts, and when they are free
        # By limit: jobs whose first choice this host is.
        self._own: defaultdict[int | None, deque[JobRecord]] = defaultdict(deque)
        # By limit, then by the hosts they prefer to this one: so jobs that have to wait for a silent host do not hold
        # up those whose host is merely full. Short ones are lists: there may be one for each job, and a deque takes
        # 0.6 KB.
        self._others: defaultdict[int | None, dict[tuple[str, ...], MutableSequence[JobRecord]]] = defaultdict(dict)

    def renew(self) -> None:
        """Be NEW again: the next job connects it. Slots of lost attempts stay taken."""
        self.state = HostState.NEW
        self.failures = 0

    def enqueue(self, job: JobRecord, better: tuple[str, ...]) -> bool:
        """Let a job wait for a slot here; tells whether it is the first that prefers just these hosts, `better`."""
        limit = job.plan.max_per_node
        if not better:
            self._own[limit].append(job)
            return False
        queues = self._others[limit]
        if queue := queues.get(better):
            queue.append(job)
            if len(queue) == _LONG:
                queues[better] = deque(queue)
            return False
        queues[better] = [job]
        return True

    def next_own(self) -> JobRecord | None:
        """
        Take the next job that may start now of those whose first choice this host is.

        A job whose limit is reached waits; jobs with a higher limit may pass it.
        """
        for queue in self._own.values():
            while queue and queue[0].state is not JobState.PENDING:  # cancelled, or started elsewhere
                queue.popleft()
            if queue and self._has_room(queue[0].plan.max_per_node, queue[0].plan.slots):
                return queue.popleft()
        return None

    def next_other(self, must_wait: Callable[[tuple[str, ...]], bool]) -> JobRecord | None:
        """
        Take the next job that may start now of those whose better hosts are full or down.

        Args:
            must_wait: Whether one of these hosts, preferred to this one, may still come up.
        """
        for limit, queues in self._others.items():
            if self._has_room(limit, 1) and (job := self._next_of(queues, must_wait)):
                return job
        return None

    def _next_of(
        self, queues: dict[tuple[str, ...], MutableSequence[JobRecord]], must_wait: Callable[[tuple[str, ...]], bool]
    ) -> JobRecord | None:
        found: JobRecord | None = None
        emptied = []
        for better, queue in queues.items():
            while queue and queue[0].state is not JobState.PENDING:
                del queue[0]
            if not queue:
                emptied.append(better)
            elif self._has_room(queue[0].plan.max_per_node, queue[0].plan.slots) and not must_wait(better):
                found = queue[0]
                del queue[0]
                break
        for better in emptied:
            del queues[better]
        return found

    def occupy(self, job: JobRecord) -> None:
        """Take the job's slots."""
        self.running[job.plan.job_id] = job.plan.slots
        self._used += job.plan.slots

    def release(self, job: JobRecord) -> None:
        """Free the job's slots."""
        self._used -= self.running.pop(job.plan.job_id)

    def hold(self, job: JobRecord, free_at_s: float) -> None:
        """Keep the slots of an attempt that was lost until `free_at_s`."""
        self._held.append((free_at_s, self.running.pop(job.plan.job_id)))

    def free_held(self, now_s: float) -> bool:
        """Free the slots that are due; tells whether there were any."""
        due = [slots for free_at_s, slots in self._held if free_at_s <= now_s]
        self._held = [held for held in self._held if held[0] > now_s]
        self._used -= sum(due)
        return bool(due)

    def held_slots(self) -> tuple[int, float]:
        """Return how many slots are kept for lost attempts, and when the last of them is free."""
        return sum(slots for _, slots in self._held), max((free_at_s for free_at_s, _ in self._held), default=0.0)

    def has_waiting(self) -> bool:
        """Whether a job may still start here."""
        queues = chain(self._own.values(), *(queues.values() for queues in self._others.values()))
        return any(job.state is JobState.PENDING for job in chain.from_iterable(queues))

    def take_pending(self) -> list[JobRecord]:
        """Give up everything that waits here as its first choice, each job once."""
        queued = [job for queue in self._own.values() for job in queue]
        self._own.clear()
        self._others.clear()
        return list({job.plan.job_id: job for job in queued if job.state is JobState.PENDING}.values())

    def check(self, jobs: dict[int, JobRecord]) -> None:
        """Assert that the slots add up and no limit is exceeded; for tests."""
        assert self._used == sum(self.running.values()) + sum(slots for _, slots in self._held)
        limits = [jobs[job_id].plan.max_per_node for job_id in self.running]
        if self.running and 0 not in limits:
            limit = max(self.cores if limit is None else limit for limit in limits)
            assert self._used <= limit or (len(self.running) == 1 and not self._held), (self.name, self.running, limit)

    def _has_room(self, max_per_node: int | None, slots: int) -> bool:
        limit = self.cores if max_per_node is None else max_per_node
        return limit == 0 or self._used == 0 or self._used + slots <= limit
