"""The schedule: every row of its two tables, slots, limits, replicas, retries, loss."""

import cProfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from schedule_driver import ScheduleDriver

from pipeline.model.jobs import JobState
from pipeline.schedule.events import (
    AttemptEnded,
    AttemptStarted,
    Cancel,
    Connect,
    Finished,
    HostLost,
    JobPlan,
    Start,
    Submitted,
)
from pipeline.schedule.records import InvalidTransition

PENDING, DISPATCHED, RUNNING = JobState.PENDING, JobState.DISPATCHED, JobState.RUNNING
OK, FAILED, SIGNALED, TIMEOUT = JobState.OK, JobState.FAILED, JobState.SIGNALED, JobState.TIMEOUT
CANCELLED, LOST, REFUSED = JobState.CANCELLED, JobState.LOST, JobState.REFUSED
INFINITY = float("inf")
HELD_S = 60.0 + 5.0 + 5.0  # lease, kill grace and 5 s, with the default parameters

MakeSchedule = Callable[..., ScheduleDriver]


@pytest.fixture
def make_schedule() -> Iterator[MakeSchedule]:
    """Make schedules whose invariants are checked at the end of the test."""
    made: list[ScheduleDriver] = []

    def make(**parameters: Any) -> ScheduleDriver:
        made.append(ScheduleDriver(**parameters))
        return made[-1]

    yield make
    for driver in made:
        driver.schedule.check()


@pytest.fixture
def schedule(make_schedule: MakeSchedule) -> ScheduleDriver:
    """Make a schedule with the default parameters."""
    return make_schedule()


# -- the table of job states


def test_a_job_waits_until_its_host_is_up(schedule: ScheduleDriver) -> None:
    """A job is PENDING while its host is being connected to."""
    (job,) = schedule.submit("lce001")

    assert schedule.answered == [Connect("lce001")]
    assert schedule.state(job) is PENDING


def test_a_free_slot_starts_a_job(schedule: ScheduleDriver) -> None:
    """When the agent answers, the job is started there as attempt 1."""
    (job,) = schedule.submit("lce001")

    assert schedule.up("lce001") == [Start(job, 1, "lce001")]
    assert schedule.state(job) is DISPATCHED


def test_a_job_for_a_host_that_is_up_starts_at_once(schedule: ScheduleDriver) -> None:
    """No second connect is made for a host that has an agent."""
    schedule.submit("lce001")
    schedule.up("lce001")

    (job,) = schedule.submit("lce001")

    assert schedule.answered == [Start(job, 1, "lce001")]


def test_a_started_job_is_running(schedule: ScheduleDriver) -> None:
    """The host's word that an attempt runs makes the job RUNNING and asks for nothing."""
    (job,) = schedule.submit("lce001")
    schedule.up("lce001")

    assert schedule.run(job) == []
    assert schedule.state(job) is RUNNING


@pytest.mark.parametrize("is_running", [False, True], ids=["dispatched", "running"])
@pytest.mark.parametrize("state", [OK, FAILED, SIGNALED, TIMEOUT, CANCELLED, LOST, REFUSED])
def test_a_report_makes_the_job_final(schedule: ScheduleDriver, state: JobState, is_running: bool) -> None:
    """A job without attempts left becomes what its host says, DISPATCHED or RUNNING."""
    (job,) = schedule.submit("lce001")
    schedule.up("lce001")
    if is_running:
        schedule.run(job)

    assert schedule.end(job, state, "why") == [Finished(job, state, "lce001", "why")]
    assert schedule.state(job) is state


def test_a_job_none_of_whose_hosts_can_be_reached_is_lost(schedule: ScheduleDriver) -> None:
    """PENDING becomes LOST, with the reasons of all its hosts."""
    (job,) = schedule.submit(["lce001", "lce002"])
    assert schedule.fail("lce001", "login refused", is_permanent=True) == []

    got = schedule.fail("lce002", "wrong key", is_permanent=True)

    assert got == [Finished(job, LOST, None, "login refused; wrong key")]


def test_a_job_for_a_host_that_is_down_is_lost_at_once(schedule: ScheduleDriver) -> None:
    """What is submitted later to a host that was given up does not wait."""
    schedule.submit("lce001")
    schedule.fail("lce001", "login refused", is_permanent=True)

    (job,) = schedule.submit("lce001")

    assert schedule.answered == [Finished(job, LOST, None, "login refused")]


@pytest.mark.parametrize("is_running", [False, True], ids=["dispatched", "running"])
def test_a_job_is_lost_with_its_host(schedule: ScheduleDriver, is_running: bool) -> None:
    """DISPATCHED and RUNNING become LOST when the session breaks, and are not run again."""
    (job,) = schedule.submit("lce001", max_attempts=3)
    schedule.up("lce001")
    if is_running:
        schedule.run(job)

    assert schedule.lose("lce001", "cut") == [Finished(job, LOST, "lce001", "cut")]


def test_lost_jobs_leave_the_waiting_ones_pending(schedule: ScheduleDriver) -> None:
    """Only what ran on a host is lost with it; what waits for it goes on waiting."""
    first, second = schedule.submit("lce001", n=2, max_per_node=1)
    schedule.up("lce001")

    schedule.lose("lce001")

    assert (schedule.state(first), schedule.state(second)) == (LOST, PENDING)


def test_an_id_is_submitted_only_once(schedule: ScheduleDriver) -> None:
    """A job id that is known already is a bug of ours, told with the story of how it came to it."""
    (job,) = schedule.submit("lce001")

    with pytest.raises(InvalidTransition, match=r"job 1 submitted twice\n  0\.000 Submitted"):
        schedule.handle(Submitted((JobPlan(job, ("lce001",)),)))


# -- the table of host states


def test_a_host_is_connected_to_once_for_many_jobs(schedule: ScheduleDriver) -> None:
    """NEW becomes CONNECTING with the first job; the others only wait."""
    schedule.submit("lce001", n=3)

    assert schedule.answered == [Connect("lce001")]


def test_a_failed_connect_is_tried_again_after_its_wait(make_schedule: MakeSchedule) -> None:
    """CONNECTING becomes WAITING, and CONNECTING again when the wait has passed."""
    schedule = make_schedule(retry_wait=2.0)
    schedule.submit("lce001")
    assert schedule.fail("lce001") == []

    assert schedule.schedule.deadline_s == schedule.schedule.retry_at_s("lce001") == 2.0
    assert schedule.wait(1.9) == []
    assert schedule.wait(0.1) == [Connect("lce001")]
    assert schedule.schedule.deadline_s == INFINITY


def test_waits_double_up_to_the_longest(make_schedule: MakeSchedule) -> None:
    """Without jitter the waits are 1, 2, 4, 8 and then the limit."""
    schedule = make_schedule(retry_wait_max=6.0, verdict_timeout=1000.0)
    schedule.submit("lce001")

    waits = []
    for _ in range(5):
        schedule.fail("lce001")
        waits.append(schedule.schedule.deadline_s - schedule.now_s)
        schedule.wait(waits[-1])

    assert waits == [1.0, 2.0, 4.0, 6.0, 6.0]


@pytest.mark.parametrize(("random", "wait_s"), [(0.0, 0.5), (0.25, 0.75), (0.75, 1.25)])
def test_waits_are_spread_by_half(make_schedule: MakeSchedule, random: float, wait_s: float) -> None:
    """The randomness given makes a wait up to 50 % shorter or longer."""
    schedule = make_schedule(random=random)
    schedule.submit("lce001")

    schedule.fail("lce001")

    assert schedule.schedule.deadline_s == wait_s


def test_a_host_that_always_fails_is_given_up(make_schedule: MakeSchedule) -> None:
    """After the first connect and `connect_retries` more the host is DOWN and its jobs are LOST."""
    schedule = make_schedule(connect_retries=2, verdict_timeout=1000.0)
    (job,) = schedule.submit("lce001")
    for _ in range(2):
        schedule.fail("lce001")
        assert Connect("lce001") in schedule.wait(60.0)

    assert schedule.fail("lce001", "no route") == [Finished(job, LOST, None, "no route")]
    assert schedule.schedule.retry_at_s("lce001") is None


def test_no_retry_would_end_after_the_verdict_is_due(make_schedule: MakeSchedule) -> None:
    """The verdict's time counts from the first connect, so a slow failure leaves fewer retries."""
    schedule = make_schedule(verdict_timeout=45.0)
    (job,) = schedule.submit("lce001")
    schedule.wait(44.5)

    assert schedule.fail("lce001") == [Finished(job, LOST, None, "no route")]


def test_a_permanent_failure_is_not_tried_again(schedule: ScheduleDriver) -> None:
    """A refused login makes the host DOWN at once."""
    (job,) = schedule.submit("lce001")

    assert schedule.fail("lce001", "login refused", is_permanent=True) == [Finished(job, LOST, None, "login refused")]
    assert schedule.schedule.deadline_s == INFINITY


def test_a_lost_host_is_connected_to_again(schedule: ScheduleDriver) -> None:
    """UP becomes WAITING when the session breaks, and the host gets its waiting jobs when it is back."""
    _, waiting = schedule.submit("lce001", n=2, max_per_node=1)
    schedule.up("lce001")
    schedule.lose("lce001")
    assert schedule.wait(1.0) == [Connect("lce001")]

    schedule.up("lce001")

    assert schedule.wait(HELD_S) == [Start(waiting, 1, "lce001")]


def test_a_host_lost_too_often_is_given_up(make_schedule: MakeSchedule) -> None:
    """Sessions that break again and again without a single finished attempt count like failed connects."""
    schedule = make_schedule(connect_retries=1)
    _, waiting = schedule.submit("lce001", n=2, max_per_node=1)
    schedule.up("lce001")
    schedule.lose("lce001")
    schedule.wait(1.0)
    schedule.up("lce001")

    assert schedule.lose("lce001", "cut again") == [Finished(waiting, LOST, None, "cut again")]


def test_a_host_lost_when_nobody_waits_for_it_is_new_again(make_schedule: MakeSchedule) -> None:
    """UP becomes NEW and counts no failure: it is left alone until its next job, whose connects are all there."""
    schedule = make_schedule(connect_retries=1)
    for _ in range(3):
        (job,) = schedule.submit("lce001")
        assert schedule.answered == [Connect("lce001")]
        schedule.up("lce001")
        schedule.end(job)
        assert schedule.lose("lce001") == []

    assert schedule.schedule.deadline_s == INFINITY
    schedule.submit("lce001")
    assert schedule.fail("lce001") == []
    assert schedule.schedule.retry_at_s("lce001") == schedule.now_s + 1.0


def test_a_host_that_may_be_back_is_tried_afresh_by_the_next_jobs(make_schedule: MakeSchedule) -> None:
    """DOWN becomes NEW when new jobs name the host, with all its retries, unless its verdict was permanent."""
    schedule = make_schedule(connect_retries=1)
    for _ in range(2):
        (job,) = schedule.submit("lce001")
        assert schedule.answered == [Connect("lce001")]
        assert schedule.fail("lce001", "refused") == []
        assert schedule.wait(1.0) == [Connect("lce001")]
        assert schedule.fail("lce001", "refused") == [Finished(job, LOST, None, "refused")]


def test_a_host_that_broke_the_protocol_stays_down(schedule: ScheduleDriver) -> None:
    """UP becomes DOWN for good when the loss is permanent, though nothing waits for the host."""
    (job,) = schedule.submit("lce001")
    schedule.up("lce001")
    schedule.end(job)
    schedule.handle(HostLost("lce001", "broken protocol", is_permanent=True))

    (later,) = schedule.submit("lce001")

    assert schedule.answered == [Finished(later, LOST, None, "broken protocol")]


def test_a_host_that_is_back_takes_what_waits_for_another(make_schedule: MakeSchedule) -> None:
    """A job that was left to its second host runs on its first when that one is tried afresh and answers sooner."""
    schedule = make_schedule(connect_retries=0)
    (job,) = schedule.submit(["lce001", "lce002"], max_per_node=1)
    schedule.fail("lce001")
    (later,) = schedule.submit("lce001", max_per_node=2)

    assert schedule.up("lce001") == [Start(job, 1, "lce001"), Start(later, 1, "lce001")]


def test_a_finished_attempt_forgets_earlier_failures(make_schedule: MakeSchedule) -> None:
    """A host that has done work starts counting its failures anew."""
    schedule = make_schedule(connect_retries=1)
    job, running, _ = schedule.submit("lce001", n=3, max_per_node=1)
    schedule.fail("lce001")
    schedule.wait(1.0)
    schedule.up("lce001")
    schedule.end(job)

    schedule.lose("lce001")

    assert schedule.state(running) is LOST
    assert schedule.schedule.retry_at_s("lce001") == schedule.now_s + 1.0


def test_a_host_lost_after_hours_is_tried_again(schedule: ScheduleDriver) -> None:
    """The verdict's time of a second loss counts from that loss, not from the first one."""
    schedule.submit("lce001", n=3, max_per_node=1)
    schedule.up("lce001")
    schedule.lose("lce001")
    schedule.wait(1.0)
    schedule.up("lce001")
    schedule.wait(3600.0)

    schedule.lose("lce001")

    assert schedule.schedule.retry_at_s("lce001") == schedule.now_s + 2.0


@pytest.mark.parametrize("event", ["up", "fail", "lose"])
def test_news_of_an_unknown_host_is_stale(schedule: ScheduleDriver, event: str) -> None:
    """A host nobody asked for changes nothing."""
    assert getattr(schedule, event)("nobody") == []
    assert schedule.schedule.stale == 1


def test_news_that_do_not_fit_a_host_are_stale(schedule: ScheduleDriver) -> None:
    """A host that is up cannot come up or fail to connect, one that connects cannot be lost."""
    schedule.submit("lce001", n=2, max_per_node=1)
    schedule.lose("lce001")
    schedule.up("lce001")

    assert schedule.up("lce001", cores=64) == []
    assert schedule.fail("lce001") == []
    assert schedule.schedule.stale == 3


# -- stale reports


@pytest.mark.parametrize(
    ("event", "case"),
    [
        (AttemptStarted(1, 2, "lce001"), "a later attempt"),
        (AttemptStarted(1, 0, "lce001"), "an earlier attempt"),
        (AttemptStarted(1, 1, "lce002"), "another host"),
        (AttemptStarted(9, 1, "lce001"), "an unknown job"),
        (AttemptEnded(1, 2, "lce001", OK), "the end of a later attempt"),
        (AttemptEnded(1, 1, "lce002", OK), "the end on another host"),
        (AttemptEnded(9, 1, "lce001", OK), "the end of an unknown job"),
        (AttemptEnded(2, 1, "lce001", OK), "the end of a job that waits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_report_on_another_attempt_changes_nothing(
    schedule: ScheduleDriver, event: AttemptStarted | AttemptEnded, case: str
) -> None:
    """Only reports on the current attempt from the host it was given to count."""
    job, waiting = schedule.submit("lce001", n=2, max_per_node=1)
    schedule.up("lce001")

    assert schedule.handle(event) == []
    assert schedule.schedule.stale == 1, case
    assert (schedule.state(job), schedule.state(waiting)) == (DISPATCHED, PENDING)


def test_reports_on_a_final_job_change_nothing(schedule: ScheduleDriver) -> None:
    """A second result, or a late start, leaves a final job as it is."""
    (job,) = schedule.submit("lce001")
    schedule.up("lce001")
    schedule.end(job, FAILED)

    assert schedule.end(job, OK) == schedule.run(job) == []
    assert (schedule.state(job), schedule.schedule.stale) == (FAILED, 2)


def test_a_second_start_report_changes_nothing(schedule: ScheduleDriver) -> None:
    """A job that runs already cannot be reported as started again."""
    (job,) = schedule.submit("lce001")
    schedule.up("lce001")
    schedule.run(job)

    assert schedule.run(job) == []
    assert schedule.schedule.stale == 1


def test_a_result_from_before_the_loss_is_fenced(schedule: ScheduleDriver) -> None:
    """What a lost attempt reports later does not count, and frees nothing."""
    (job,) = schedule.submit("lce001")
    schedule.up("lce001")
    schedule.lose("lce001")

    assert schedule.end(job) == []
    assert (schedule.state(job), schedule.schedule.stale) == (LOST, 1)


# -- retries


@pytest.mark.parametrize("state", [FAILED, SIGNALED, TIMEOUT])
def test_a_failed_attempt_is_followed_by_the_next(schedule: ScheduleDriver, state: JobState) -> None:
    """With attempts left a failed job is started again, with the next number."""
    (job,) = schedule.submit("lce001", max_attempts=2)
    schedule.up("lce001")

    assert schedule.end(job, state) == [Start(job, 2, "lce001")]


def test_the_last_attempt_is_final(schedule: ScheduleDriver) -> None:
    """A job fails for good with its last attempt."""
    (job,) = schedule.submit("lce001", max_attempts=2)
    schedule.up("lce001")
    schedule.end(job, FAILED, "one")

    assert schedule.end(job, FAILED, "two") == [Finished(job, FAILED, "lce001", "two")]


@pytest.mark.parametrize("state", [OK, CANCELLED, LOST, REFUSED])
def test_other_ends_are_not_retried(schedule: ScheduleDriver, state: JobState) -> None:
    """Only failures of the job itself use the attempts left."""
    (job,) = schedule.submit("lce001", max_attempts=5)
    schedule.up("lce001")

    assert schedule.end(job, state) == [Finished(job, state, "lce001", "")]


def test_a_retry_queues_behind_what_waits(schedule: ScheduleDriver) -> None:
    """The slot of a failed attempt goes to the job that has waited longest."""
    first, second = schedule.submit("lce001", n=2, max_per_node=1, max_attempts=2)
    schedule.up("lce001")

    assert schedule.end(first, FAILED) == [Start(second, 1, "lce001")]
    assert schedule.end(second) == [Finished(second, OK, "lce001", ""), Start(first, 2, "lce001")]


def test_a_failed_connect_costs_no_attempt(schedule: ScheduleDriver) -> None:
    """The first attempt is number 1 however often the connect was tried."""
    (job,) = schedule.submit("lce001")
    schedule.fail("lce001")
    schedule.wait(1.0)

    assert schedule.up("lce001") == [Start(job, 1, "lce001")]


# -- cancel


def test_a_waiting_job_is_cancelled_at_once(schedule: ScheduleDriver) -> None:
    """PENDING becomes CANCELLED, and the job is never started."""
    (job,) = schedule.submit("lce001")

    assert schedule.cancel(job) == [Finished(job, CANCELLED, None, "cancelled before it started")]
    assert schedule.up("lce001") == []


@pytest.mark.parametrize("is_running", [False, True], ids=["dispatched", "running"])
def test_a_cancelled_job_keeps_its_slot_until_it_has_ended(schedule: ScheduleDriver, is_running: bool) -> None:
    """The host is told to end the attempt; its slot is free when the host reports."""
    job, waiting = schedule.submit("lce001", n=2, max_per_node=1)
    schedule.up("lce001")
    if is_running:
        schedule.run(job)

    assert schedule.cancel(job) == [Cancel(job, 1, "lce001")]
    assert schedule.end(job, CANCELLED) == [Finished(job, CANCELLED, "lce001", ""), Start(waiting, 1, "lce001")]


def test_a_job_is_told_to_end_only_once(schedule: ScheduleDriver) -> None:
    """A second request to cancel sends nothing more."""
    (job,) = schedule.submit("lce001")
    schedule.up("lce001")
    schedule.cancel(job)

    assert schedule.cancel(job) == []


def test_a_cancelled_job_is_not_retried(schedule: ScheduleDriver) -> None:
    """A job that fails while it is being ended is final although it has attempts left."""
    (job,) = schedule.submit("lce001", max_attempts=3)
    schedule.up("lce001")
    schedule.cancel(job)

    assert schedule.end(job, FAILED) == [Finished(job, FAILED, "lce001", "")]


def test_cancelling_all_leaves_final_jobs_alone(schedule: ScheduleDriver) -> None:
    """Each job is cancelled according to where it stands."""
    done, running, waiting = schedule.submit("lce001", n=3, max_per_node=1)
    schedule.up("lce001")
    schedule.end(done)

    got = schedule.cancel()

    assert got == [Cancel(running, 1, "lce001"), Finished(waiting, CANCELLED, None, "cancelled before it started")]


def test_cancelling_an_unknown_job_changes_nothing(schedule: ScheduleDriver) -> None:
    """A number that is no job is counted as stale."""
    assert schedule.cancel(77) == []
    assert schedule.schedule.stale == 1


def test_a_job_cancelled_between_two_attempts_is_final_at_once(schedule: ScheduleDriver) -> None:
    """A job waiting for its next attempt is PENDING like any other, and keeps its last host."""
    first, _ = schedule.submit("lce001", n=2, max_per_node=1, max_attempts=2)
    schedule.up("lce001")
    schedule.end(first, FAILED)

    assert schedule.cancel(first) == [Finished(first, CANCELLED, "lce001", "cancelled before it started")]


# -- slots and limits


@pytest.mark.parametrize(
    ("max_per_node", "cores", "n_started"),
    [(3, 8, 3), (1, 8, 1), (0, 8, 10), (None, 4, 4), (None, 0, 1), (None, -5, 1)],
)
def test_as_many_jobs_start_as_the_limit_allows(
    schedule: ScheduleDriver, max_per_node: int | None, cores: int, n_started: int
) -> None:
    """A limit is kept, 0 is none, None is the number of cores, of which a host has at least one."""
    schedule.submit("lce001", n=10, max_per_node=max_per_node)

    assert len(schedule.up("lce001", cores=cores)) == n_started


def test_the_limit_holds_for_each_host(schedule: ScheduleDriver) -> None:
    """Two hosts have their slots each."""
    schedule.submit("lce001", n=2, max_per_node=1)
    schedule.submit("lce002", n=2, max_per_node=1)

    assert schedule.up("lce001") == [Start(1, 1, "lce001")]
    assert schedule.up("lce002") == [Start(3, 1, "lce002")]


def test_jobs_of_all_steps_count_against_a_limit(schedule: ScheduleDriver) -> None:
    """A job starts only when the host, with the jobs of other batches, is below the job's own limit."""
    wide = schedule.submit("lce001", n=3, max_per_node=3)
    schedule.up("lce001")
    (narrow,) = schedule.submit("lce001", max_per_node=2)

    assert [schedule.end(job) for job in wide[:2]] == [
        [Finished(wide[0], OK, "lce001", "")],
        [Finished(wide[1], OK, "lce001", ""), Start(narrow, 1, "lce001")],
    ]


def test_a_higher_limit_passes_a_lower_one_that_is_reached(schedule: ScheduleDriver) -> None:
    """Jobs that wait at a low limit do not hold up those with a higher one."""
    schedule.submit("lce001", n=3, max_per_node=1)
    wide = schedule.submit("lce001", n=3, max_per_node=3)

    schedule.up("lce001")

    assert schedule.started() == [(1, "lce001"), (wide[0], "lce001"), (wide[1], "lce001")]


def test_jobs_with_the_same_limit_start_in_order(schedule: ScheduleDriver) -> None:
    """Within a limit it is first come, first served, over several batches."""
    jobs = schedule.submit("lce001", n=2, max_per_node=1) + schedule.submit("lce001", n=2, max_per_node=1)
    schedule.up("lce001")

    order = [1] + [schedule.end(job) and schedule.started()[0][0] for job in jobs[:-1]]

    assert order == jobs


def test_a_job_of_several_slots_waits_for_all_of_them(schedule: ScheduleDriver) -> None:
    """A job that takes three of four slots starts only when three are free, and nothing behind it passes."""
    small = schedule.submit("lce001", n=2, max_per_node=4)
    (big,) = schedule.submit("lce001", max_per_node=4, slots=3)
    (late,) = schedule.submit("lce001", max_per_node=4)
    schedule.up("lce001")
    assert schedule.started() == [(job, "lce001") for job in small]

    assert schedule.end(small[0])[1:] == [Start(big, 1, "lce001")]
    assert schedule.end(small[1])[1:] == [Start(late, 1, "lce001")]


def test_a_job_wider_than_the_limit_runs_alone(schedule: ScheduleDriver) -> None:
    """More slots than the limit allows are given when nothing else runs, not never."""
    (small,) = schedule.submit("lce001", max_per_node=2)
    (huge,) = schedule.submit("lce001", max_per_node=2, slots=5)
    (late,) = schedule.submit("lce001", max_per_node=2)
    schedule.up("lce001")

    assert schedule.end(small)[1:] == [Start(huge, 1, "lce001")]
    assert schedule.end(huge)[1:] == [Start(late, 1, "lce001")]


# -- replicas


def test_the_preferred_host_gets_the_job(schedule: ScheduleDriver) -> None:
    """With both hosts up a job goes to the one it names first, and nowhere else."""
    schedule.submit("lce001")
    schedule.submit("lce002")
    schedule.up("lce001")
    schedule.up("lce002")

    (job,) = schedule.submit(["lce002", "lce001"])

    assert schedule.answered == [Start(job, 1, "lce002")]


def test_a_host_takes_no_job_whose_preferred_host_may_come_up(schedule: ScheduleDriver) -> None:
    """While the first host is connecting or waiting to, the second leaves the job alone."""
    (job,) = schedule.submit(["lce001", "lce002"])

    assert schedule.up("lce002") == []
    assert schedule.fail("lce001") == []
    assert schedule.wait(1.0) == [Connect("lce001")]
    assert schedule.up("lce001") == [Start(job, 1, "lce001")]


def test_a_host_takes_over_from_one_that_is_down(schedule: ScheduleDriver) -> None:
    """When the first host is given up the second gets its jobs at once."""
    jobs = schedule.submit(["lce001", "lce002"], n=2)
    schedule.up("lce002")

    got = schedule.fail("lce001", is_permanent=True)

    assert got == [Start(job, 1, "lce002") for job in jobs]


def test_jobs_of_a_host_that_is_down_wait_for_the_next_one(schedule: ScheduleDriver) -> None:
    """Jobs of a host that was given up are not lost while another of theirs is still connecting."""
    (job,) = schedule.submit(["lce001", "lce002"])
    assert schedule.fail("lce001", is_permanent=True) == []

    assert schedule.up("lce002") == [Start(job, 1, "lce002")]


def test_a_host_helps_one_that_is_full(schedule: ScheduleDriver) -> None:
    """When the first host has no free slot the second takes the next job."""
    first, second, _ = schedule.submit(["lce001", "lce002"], n=3, max_per_node=1)
    schedule.up("lce002")

    assert schedule.up("lce001") == [Start(first, 1, "lce001"), Start(second, 1, "lce002")]


def test_own_jobs_come_before_helping_out(schedule: ScheduleDriver) -> None:
    """A free slot goes to the host's own job although another's has waited longer."""
    schedule.submit(["lce001", "lce002"], n=3, max_per_node=1)
    (own,) = schedule.submit("lce002", max_per_node=1)
    schedule.up("lce001")

    assert schedule.up("lce002") == [Start(own, 1, "lce002")]


def test_a_silent_host_does_not_keep_others_from_helping(schedule: ScheduleDriver) -> None:
    """A job that waits for a silent host leaves the help to those whose host is full."""
    schedule.submit(["silent", "lce003"], max_per_node=1)
    full = schedule.submit(["lce001", "lce003"], n=2, max_per_node=1)
    schedule.up("lce003")

    schedule.up("lce001")

    assert schedule.started() == [(full[0], "lce001"), (full[1], "lce003")]


def test_many_jobs_with_the_same_hosts_start_once_and_in_order(schedule: ScheduleDriver) -> None:
    """However long the queue is, both hosts take from its head."""
    jobs = schedule.submit(["lce001", "lce002"], n=300, max_per_node=1)
    schedule.up("lce001")
    schedule.up("lce002")

    for job, next_but_one in zip(jobs, jobs[2:], strict=False):
        schedule.end(job)
        assert [started for started, _ in schedule.started()] == [next_but_one]


def test_what_a_host_costs_does_not_grow_with_the_number_of_hosts(make_schedule: MakeSchedule) -> None:
    """When a host answers, only those hosts are looked at that jobs prefer less, not all that could help somebody."""

    def calls(n: int) -> int:
        schedule = make_schedule()
        hosts = [f"lce{number:03}" for number in range(n)]
        for number in range(n):
            schedule.submit([hosts[number - place] for place in range(3)], n=4, max_per_node=2)
        for host in hosts[:-1]:
            schedule.up(host)
        profile = cProfile.Profile()
        profile.runcall(schedule.up, hosts[-1])
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(200) < 2 * calls(20)


def test_a_retry_may_go_to_another_host(schedule: ScheduleDriver) -> None:
    """A failed attempt's job is taken by its second host when its first is full by then."""
    a, b = schedule.submit(["lce001", "lce002"], n=2, max_per_node=1, max_attempts=2)
    schedule.up("lce001")
    schedule.up("lce002")
    schedule.submit("lce001", max_per_node=1)
    schedule.end(b)

    schedule.end(a, FAILED)

    assert (a, "lce002") in schedule.started()


def test_a_job_naming_a_host_twice_runs_once(schedule: ScheduleDriver) -> None:
    """A repeated host name is harmless."""
    (job,) = schedule.submit(["lce001", "lce001"])

    assert schedule.up("lce001") == [Start(job, 1, "lce001")]


# -- slots of lost attempts


def test_slots_of_lost_attempts_stay_taken_for_the_lease(schedule: ScheduleDriver) -> None:
    """What was lost may still run: its slots are given away only after lease, kill grace and 5 s."""
    _, waiting = schedule.submit("lce001", n=2, max_per_node=1)
    schedule.up("lce001")
    schedule.lose("lce001")
    schedule.wait(1.0)

    assert schedule.up("lce001") == []
    assert schedule.schedule.deadline_s == HELD_S
    assert schedule.wait(HELD_S - 1.1) == []
    assert schedule.wait(0.1) == [Start(waiting, 1, "lce001")]


def test_slots_that_stay_taken_can_be_told(schedule: ScheduleDriver) -> None:
    """How many slots lost attempts keep, and until when, is known until they are free."""
    schedule.submit("lce001", n=2, slots=2)
    schedule.up("lce001")
    assert schedule.schedule.held_slots("lce001") == (0, 0.0)
    schedule.lose("lce001")

    assert schedule.schedule.held_slots("lce001") == (4, HELD_S)
    schedule.wait(HELD_S)
    assert schedule.schedule.held_slots("lce001") == (0, 0.0)


def test_slots_stay_taken_while_the_host_is_new_again(schedule: ScheduleDriver) -> None:
    """A host that is lost with its only job keeps that slot, though it is NEW: the next job waits for it."""
    schedule.submit("lce001", max_per_node=1)
    schedule.up("lce001")
    schedule.lose("lce001")
    (job,) = schedule.submit("lce001", max_per_node=1)
    assert schedule.answered == [Connect("lce001")]

    assert schedule.up("lce001") == []
    assert schedule.wait(HELD_S) == [Start(job, 1, "lce001")]


def test_free_slots_of_a_host_that_was_lost_are_used(schedule: ScheduleDriver) -> None:
    """Only the lost attempts' slots stay taken, the others are used as soon as the host is back."""
    schedule.submit("lce001", n=2, max_per_node=3)
    schedule.up("lce001")
    schedule.lose("lce001")
    schedule.wait(1.0)
    later = schedule.submit("lce001", n=2, max_per_node=3)

    assert schedule.up("lce001") == [Start(later[0], 1, "lce001")]


def test_nothing_is_due_when_nothing_waits(schedule: ScheduleDriver) -> None:
    """Without hosts, and with all of them up, time changes nothing."""
    assert schedule.schedule.deadline_s == INFINITY

    schedule.submit("lce001")
    schedule.up("lce001")

    assert schedule.schedule.deadline_s == INFINITY
    assert schedule.wait(1e6) == []


def test_the_deadline_is_the_earliest_of_all_hosts(make_schedule: MakeSchedule) -> None:
    """The next thing due may belong to any host."""
    schedule = make_schedule(retry_wait=8.0)
    for host in ("lce001", "lce002"):
        schedule.submit(host)
        schedule.fail(host)
        schedule.now_s += 1.0

    assert schedule.schedule.deadline_s == 8.0
    assert schedule.wait(7.5) == [Connect("lce001"), Connect("lce002")]
