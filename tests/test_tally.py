"""Counting and estimating, without any output."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model.jobs import JobState
from pipeline.run.events import Event, HostChanged, JobEnded, JobFinished, JobsSubmitted, JobStarted
from pipeline.view.tally import Tally
from pipeline.view.text import align, format_duration

HOSTS = st.sampled_from(["node0", "node1", "node2"])
JOB_IDS = st.integers(1, 12)
STATES = st.sampled_from([state for state in JobState if state.is_final])
EVENTS = st.one_of(
    st.builds(JobsSubmitted, st.integers(0, 9), st.dictionaries(HOSTS, st.integers(0, 9))),
    st.builds(JobStarted, JOB_IDS, HOSTS),
    st.builds(JobEnded, JOB_IDS, HOSTS, STATES, st.floats()),
    st.builds(JobFinished, JOB_IDS, st.none() | HOSTS, STATES),
    st.builds(HostChanged, HOSTS, st.sampled_from(["connected", "lost"]), st.just("")),
)


def run_steadily(tally: Tally, *, jobs: int, total: int, slots: int, duration_s: float, begin_s: float = 0.0) -> float:
    """Run the first `jobs` of `total` jobs, `slots` at a time and in step; return when the last one ended."""
    tally.handle(JobsSubmitted(total, {"node0": total}), begin_s)
    now_s = begin_s
    for first in range(0, jobs, slots):
        batch = range(tally.final + 1, tally.final + 1 + min(slots, jobs - first))
        for job_id in batch:
            tally.handle(JobStarted(job_id, "node0"), now_s)
        now_s += duration_s
        for job_id in batch:
            tally.handle(JobEnded(job_id, "node0", JobState.OK, duration_s), now_s)
            tally.handle(JobFinished(job_id, "node0", JobState.OK), now_s)
    return now_s


@given(st.lists(st.tuples(EVENTS, st.floats(0, 1e4)), max_size=60))
def test_counts_always_add_up(events: list[tuple[Event, float]]):
    """Whatever the events, sensible or not, done, failed, running and waiting add up and none is negative."""
    tally, now_s = Tally(), 0.0
    for event, step_s in events:
        now_s += step_s
        tally.handle(event, now_s)
        numbers = (tally.done, tally.failed, tally.running, tally.waiting)

        assert sum(numbers) == tally.total
        assert min(numbers) >= 0
        assert sum(host.running for host in tally.hosts.values()) == tally.running
        left_s = tally.left_s(now_s)
        assert left_s is None or left_s >= 0
        assert tally.line(now_s)


@pytest.mark.parametrize(
    ("slots", "duration_s", "done"),
    [(1, 0.01, 500), (8, 60.0, 64), (8, 3600.0, 16), (200, 0.5, 1000), (3, 7.0, 300)],
)
def test_estimate_of_a_steady_run_is_right(slots: int, duration_s: float, done: int):
    """Jobs of equal length, short or long, few or many at a time: the estimate is within 20 % in mid-run."""
    tally = Tally()
    now_s = run_steadily(tally, jobs=done, total=2 * done, slots=slots, duration_s=duration_s)

    assert tally.left_s(now_s) == pytest.approx(now_s, rel=0.2)


def test_estimate_counts_down_between_ends():
    """While eight long jobs run in step, the estimate falls with the clock instead of rising until they end."""
    tally = Tally()
    now_s = run_steadily(tally, jobs=8, total=64, slots=8, duration_s=60.0)

    assert [tally.left_s(now_s + idle_s) for idle_s in (0.0, 30.0, 59.0)] == [420.0, 390.0, 361.0]


def test_no_estimate_before_the_first_end():
    """With nothing ended there is nothing to say."""
    tally = Tally()
    tally.handle(JobsSubmitted(5, {"node0": 5}), 0.0)
    tally.handle(JobStarted(1, "node0"), 1.0)

    assert tally.left_s(100.0) is None


def test_no_estimate_when_everything_hangs():
    """When nothing has ended for more than twice the longest recent job, no time is promised."""
    tally = Tally()
    now_s = run_steadily(tally, jobs=10, total=20, slots=1, duration_s=10.0)

    assert tally.left_s(now_s + 19.0) is not None
    assert tally.left_s(now_s + 21.0) is None


def test_pause_between_steps_does_not_count():
    """The time between two steps is not taken for slow jobs."""
    tally = Tally()
    now_s = run_steadily(tally, jobs=10, total=10, slots=1, duration_s=1.0)
    now_s = run_steadily(tally, jobs=10, total=20, slots=1, duration_s=1.0, begin_s=now_s + 3600.0)

    assert tally.left_s(now_s) == pytest.approx(10.0)


def test_job_waits_between_two_attempts():
    """A job that ended but is not final is waiting, not failed."""
    tally = Tally()
    tally.handle(JobsSubmitted(1, {"node0": 1}), 0.0)
    tally.handle(JobStarted(1, "node0"), 0.0)
    tally.handle(JobEnded(1, "node0", JobState.FAILED, 1.0), 1.0)

    assert (tally.waiting, tally.running, tally.failed) == (1, 0, 0)


def test_job_finished_twice_counts_once():
    """A second end of the same job changes nothing."""
    tally = Tally()
    tally.handle(JobsSubmitted(2, {}), 0.0)
    tally.handle(JobFinished(1, "node0", JobState.OK), 0.0)
    tally.handle(JobFinished(1, "node0", JobState.FAILED), 0.0)

    assert (tally.done, tally.failed, tally.waiting, tally.hosts["node0"].failed) == (1, 0, 1, 0)


def test_line_says_what_matters():
    """A line has what is done of how many, failed, running on how many hosts, and the time left."""
    tally = Tally()
    now_s = run_steadily(tally, jobs=37, total=500, slots=1, duration_s=0.25)
    for job_id in (101, 102, 103):
        tally.handle(JobFinished(job_id, "node1", JobState.FAILED), now_s)
    for job_id in range(201, 209):
        tally.handle(JobStarted(job_id, f"node{job_id % 2}"), now_s)

    assert tally.line(now_s) == "37 of 500 done, 3 failed, 8 running on 2 hosts, about 2 min left"


def test_busiest_hosts_come_first():
    """Hosts with most jobs running lead, then those with most ended, then by name; no more than asked for."""
    tally = Tally()
    tally.handle(JobsSubmitted(9, {"a": 1, "b": 1, "c": 1, "d": 6}), 0.0)
    tally.handle(JobStarted(1, "c"), 0.0)
    tally.handle(JobFinished(2, "b", JobState.OK), 0.0)

    assert [host.host for host in tally.busiest(3)] == ["c", "b", "a"]


def test_host_keeps_its_last_state():
    """What was last reported of a host is kept."""
    tally = Tally()
    for state in ("connected", "lost"):
        tally.handle(HostChanged("node0", state, "no sign of life for 30 s"), 0.0)

    assert tally.hosts["node0"].state == "lost"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0 s"),
        (0.42, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (125.0, "2 min 5 s"),
        (11400.0, "3 h 10 min"),
        (86400.0 * 4 + 7300, "4 d 2 h"),
        (-3.0, "0 s"),
        (float("nan"), "?"),
        (float("inf"), "?"),
    ],
)
def test_duration_is_short(seconds: float, expected: str):
    """A duration has at most two units."""
    assert format_duration(seconds) == expected


def test_columns_are_aligned():
    """Columns are as wide as their longest cell, numbers to the right, no blanks at the end."""
    assert align(("HOST", "N", "X"), [("node10", "5", ""), ("a", "100", "y")], right={1}) == [
        "HOST      N  X",
        "node10    5",
        "a       100  y",
    ]
