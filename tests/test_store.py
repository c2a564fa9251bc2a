"""The run store: real SQLite files, real locks, a real SIGKILL."""

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StoreError, UsageError
from pipeline.model.jobs import CommandJob, ComputeJob, JobState, Outcome
from pipeline.run.lock import is_locked
from pipeline.run.mounts import is_on_network, parse_mounts
from pipeline.run.store import RunStore
from pipeline.run.store_reader import RunReader, RunState

OK = Outcome(JobState.OK, 0, 12.5, "", 1 << 20, 0.5, 0.25, outputs={"fluxes": [1, 2.5]})
LOST = Outcome(JobState.LOST, message="connection lost")

Ticks = Callable[[], float]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A job directory whose name is as bad as a name can be."""
    path = tmp_path / "a 'job' \"dir\"\n%41?#;é\udcff"
    path.mkdir()
    return path


@pytest.fixture
def path(directory: Path) -> Path:
    return directory / "run.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[RunStore]:
    """A store with a run begun at second 1; each look at its clock is a second later."""
    ticks = iter(range(10**6))
    store = RunStore.open(path, clock=lambda: float(next(ticks)))
    store.begin_run("example", "a job", "2026-11-20T14:14:18", ["example.py", "-j", "a job"], "logs")
    yield store
    store.close()


@pytest.fixture
def reader(store: RunStore, path: Path) -> Iterator[RunReader]:
    with RunReader.open(path) as reader:
        yield reader


def submit(store: RunStore, number: int = 1) -> None:
    jobs = [ComputeJob(f"node{i % 2}", "python 'my script.py'", [f"L{i}.MS", i]) for i in range(number)]
    store.jobs_submitted((i, job, 1) for i, job in enumerate(jobs, start=1))


def test_everything_about_a_job_is_read_back(store: RunStore, reader: RunReader):
    """A job that ran well shows its command, host, times, exit status and use of resources."""
    submit(store)
    store.dispatched(1, 1, "node0")
    store.started(1, 1, 4711)
    store.ended(1, 1, OK)
    store.finished(1, JobState.OK, "")
    store.commit()

    (job,), (attempt,) = reader.jobs(1), reader.attempts(1)

    assert (job.name, job.state, job.host, job.attempts) == ("my script", JobState.OK, "node0", 1)
    assert (job.command, job.arguments) == ('["python","my script.py"]', '["L0.MS",0]')
    assert (job.returncode, job.duration_s, job.finished_at) == (0, 12.5, attempt.ended_at + 1.0)
    assert (attempt.pid, attempt.max_rss_bytes, attempt.user_s, attempt.system_s) == (4711, 1 << 20, 0.5, 0.25)
    assert attempt.outputs == '{"fluxes":[1,2.5]}'
    assert attempt.dispatched_at < attempt.started_at < attempt.ended_at


def test_nothing_is_written_before_commit(store: RunStore, reader: RunReader):
    """Changes reach the file with the commit and not before."""
    submit(store, 3)
    before = reader.jobs(1)
    store.commit()

    assert (before, len(reader.jobs(1))) == ([], 3)


def test_each_stage_of_a_job_has_its_state(store: RunStore, reader: RunReader):
    """A job goes from PENDING over DISPATCHED and RUNNING to its final state."""
    seen = []
    for step in (
        lambda: submit(store),
        lambda: store.dispatched(1, 1, "node0"),
        lambda: store.started(1, 1, 1),
        lambda: store.finished(1, JobState.FAILED, "exit status 1"),
    ):
        step()
        store.commit()
        seen.append(reader.jobs(1)[0].state)

    assert seen == [JobState.PENDING, JobState.DISPATCHED, JobState.RUNNING, JobState.FAILED]


def test_open_states_of_the_store_are_those_of_the_model(store: RunStore, reader: RunReader):
    """Every state that is final to the model is final to the store, and no other."""
    submit(store, len(JobState))
    for job_id, state in enumerate(JobState, start=1):
        store.finished(job_id, state)
        store.finished(job_id, JobState.CANCELLED)
    store.commit()

    expected = [state if state.is_final else JobState.CANCELLED for state in JobState]
    assert [job.state for job in reader.jobs(1)] == expected


@pytest.mark.parametrize("attempt", [1, 2])
def test_final_attempt_does_not_change(store: RunStore, reader: RunReader, attempt: int):
    """A late result of a lost attempt, or one for an attempt that never was, is counted as stale and not used."""
    submit(store)
    store.dispatched(1, 1, "node0")
    store.ended(1, 1, LOST)
    store.commit()
    store.ended(1, attempt, OK)
    store.commit()

    assert [row.state for row in reader.attempts(1)] == [JobState.LOST]
    assert store.stale_results == 1


def test_late_end_of_an_attempt_leaves_the_next_one_alone(store: RunStore, reader: RunReader):
    """While the second attempt runs, a result for the first changes nothing about the job."""
    submit(store)
    store.dispatched(1, 1, "node0")
    store.ended(1, 1, LOST)
    store.dispatched(1, 2, "node1")
    store.started(1, 2, 5)
    store.ended(1, 1, OK)
    store.commit()

    (job,) = reader.jobs(1)
    assert (job.state, job.host, job.attempts) == (JobState.RUNNING, "node1", 2)
    assert store.stale_results == 1


@settings(max_examples=30, deadline=None)  # each writes two files
@given(st.lists(st.sampled_from(["retried", "started", "ended", "late"]), max_size=8), st.sampled_from(JobState))
def test_one_commit_is_as_good_as_many(changes: list[str], last: JobState):
    """Any story of a job, retries and late results included, gives the same rows in one commit and in many."""
    with tempfile.TemporaryDirectory() as name:
        told = [tell(Path(name) / f"{n}.sqlite", changes, last, commits=n == "many") for n in ("one", "many")]

    assert told[0] == told[1]


def tell(path: Path, changes: list[str], last: JobState, *, commits: bool) -> tuple[object, ...]:
    """Write the story of job 1, with a commit after each change or only at the end; return what is in the store."""
    store, attempt, has_ended = RunStore.open(path, clock=lambda: 1.0), 1, False
    store.begin_run("example", "j", "t", [], "logs")
    submit(store)
    store.dispatched(1, 1, "node0")
    for change in changes:
        if change == "retried":
            store.ended(1, attempt, LOST)
            attempt += 1
            store.dispatched(1, attempt, f"node{attempt}")
            has_ended = False
        elif change != "started":
            has_ended = True
            store.ended(1, attempt if change == "ended" else 1, OK)
        elif not has_ended:  # an agent tells the start of an attempt before its end
            store.started(1, attempt, attempt)
        if commits:
            store.commit()
    store.finished(1, last if last.is_final else JobState.OK)
    store.end_run(0)
    with RunReader.open(path) as reader:
        told = (reader.jobs(1), reader.attempts(1), store.stale_results)
    store.close()
    return told


def test_job_waits_between_two_attempts(store: RunStore, reader: RunReader):
    """A job whose attempt ended, and that is not finished, is PENDING."""
    submit(store)
    store.dispatched(1, 1, "node0")
    store.ended(1, 1, replace(OK, state=JobState.FAILED, returncode=1))
    store.commit()

    assert reader.jobs(1)[0].state is JobState.PENDING


def test_job_without_an_attempt_can_be_final(store: RunStore, reader: RunReader):
    """A job whose host could not be reached is LOST, on no host, after no attempt, and says why."""
    submit(store)
    store.finished(1, JobState.LOST, "node0: no SSH banner in 10 s")
    store.commit()

    (job,) = reader.jobs(1, {JobState.LOST})
    assert (job.host, job.attempts, job.returncode, job.message) == ("", 0, None, "node0: no SSH banner in 10 s")


def test_host_keeps_what_is_known_of_it(store: RunStore, reader: RunReader):
    """A later state replaces state and verdict but not cores, interpreter and method."""
    store.host_changed("node0", "connected", cores=8, python="3.11.7", method="ssh")
    store.host_changed("node0", "lost", verdict="no sign of life for 30 s")
    store.commit()

    (host,) = reader.summary().hosts
    assert (host.state, host.verdict) == ("lost", "no sign of life for 30 s")
    assert (host.cores, host.python, host.method) == (8, "3.11.7", "ssh")


def test_summary_counts_jobs_by_state_and_host(store: RunStore, reader: RunReader):
    """A summary counts all jobs by state, and those of each host, also of a host nobody reported."""
    submit(store, 5)
    for job_id, host in ((1, "node0"), (2, "node1"), (3, "node0")):
        store.dispatched(job_id, 1, host)
    store.finished(1, JobState.OK)
    store.finished(2, JobState.FAILED)
    store.commit()

    summary = reader.summary()
    assert {state: n for state, n in summary.counts.items() if n} == {
        JobState.PENDING: 2,
        JobState.DISPATCHED: 1,
        JobState.OK: 1,
        JobState.FAILED: 1,
    }
    assert [(h.host, h.running, h.done, h.failed) for h in summary.hosts] == [("node0", 1, 1, 0), ("node1", 0, 0, 1)]


def test_environment_is_not_stored(store: RunStore, path: Path):
    """What a job gets in its environment is nowhere in the files: it may be a secret."""
    store.jobs_submitted([(1, ComputeJob("node0", "a.py", environment={"TOKEN": "hunter2secret"}), 1)])
    store.commit()

    files = list(path.parent.iterdir())
    assert len(files) >= 2
    assert not [file for file in files if b"hunter2secret" in file.read_bytes()]


def test_long_command_is_cut(store: RunStore, reader: RunReader):
    """Command and arguments are kept to 4 KiB each."""
    store.jobs_submitted([(1, CommandJob("node0", ["prog", "x" * 9000], ["y" * 9000]), 1)])
    store.commit()

    (job,) = reader.jobs(1)
    assert (len(job.command), len(job.arguments)) == (4096, 4096)


def test_any_bytes_and_any_number_can_be_stored(store: RunStore, reader: RunReader):
    """Surrogates in text, an argument of odd bytes and numbers beyond 64 bits do not stop a commit."""
    store.jobs_submitted([(1, CommandJob("node0", "prog", [b"\xff\n'\""], name="n\udcff\n\0é"), 1)])
    store.dispatched(1, 1, "node0")
    store.ended(1, 1, Outcome(JobState.SIGNALED, -9, float("nan"), "m\udc80", max_rss_bytes=1 << 80))
    store.finished(1, JobState.SIGNALED, "m\udc80")
    store.commit()

    (job,), (attempt,) = reader.jobs(1), reader.attempts(1)
    assert (job.name, job.message, job.duration_s) == ("n???é", "m\\udc80", None)
    assert attempt.max_rss_bytes == 2**63 - 1


def test_files_are_private(store: RunStore, path: Path):
    """Store, log, index and lock can be read and written by their owner only."""
    submit(store)
    store.commit()

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(
        ("run.sqlite", "run.sqlite-wal", "run.sqlite-shm", "run.sqlite.lock"), stat.S_IRUSR | stat.S_IWUSR
    )


def test_store_is_durable_by_its_settings(store: RunStore, path: Path):
    """The file is in WAL mode."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        connection.close()


def test_each_start_of_a_master_is_a_run(path: Path):
    """Two masters one after the other give two runs with growing ids, and the first one's jobs stay its own."""
    ids = []
    for exit_code in (0, 1):
        store = RunStore.open(path)
        ids.append(store.begin_run("example", "j", "t", ["example.py"], path.parent))
        submit(store)
        store.end_run(exit_code)
        store.close()

    with RunReader.open(path) as reader:
        states = [run.state for run in reader.runs()]
        jobs = [len(reader.jobs(run_id)) for run_id in ids]
        assert reader.summary(1).run.exit_code == 0
    assert (ids, states, jobs) == ([1, 2], [RunState.OK, RunState.FAILED], [1, 1])


def test_run_is_running_while_its_master_holds_the_lock(store: RunStore, reader: RunReader):
    """A run is shown as running, and as interrupted once its master let go without ending it."""
    before = reader.runs()[-1].state
    store.close()

    assert (before, reader.runs()[-1].state) == (RunState.RUNNING, RunState.INTERRUPTED)


def test_run_before_the_latest_is_interrupted(store: RunStore, reader: RunReader):
    """The lock of the present master does not make an older unfinished run look alive."""
    store.begin_run("example", "j", "t", [], "logs")

    assert [run.state for run in reader.runs()] == [RunState.INTERRUPTED, RunState.RUNNING]


def test_second_master_is_refused(store: RunStore, path: Path):
    """Another master is told in one line who holds the job directory since when, and what to do."""
    with pytest.raises(UsageError) as caught:
        RunStore.open(path)

    message = str(caught.value)
    assert f"is in use by pid {os.getpid()} on {os.uname().nodename} since " in message
    assert message.endswith("; choose another job name (-j) or wait")
    assert "\n" not in message


def test_lock_is_free_after_close(store: RunStore, path: Path):
    """When a master is through, the next one can have the job directory."""
    store.close()

    RunStore.open(path).close()


def test_asking_for_the_lock_does_not_take_it(path: Path):
    """A master that starts while others keep asking whether one runs is not turned away."""
    RunStore.open(path).close()
    lock, is_over = path.with_name("run.sqlite.lock"), threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            is_locked(lock)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(20):
            RunStore.open(path).close()
    finally:
        is_over.set()
        asking.join(10)


def test_close_twice_is_harmless(store: RunStore):
    """Closing a closed store does nothing."""
    store.close()
    store.close()


def test_reading_does_not_hold_up_the_writer(store: RunStore, path: Path):
    """While a reader asks again and again, all commits succeed and it never sees half of one."""
    problems: list[str] = []
    is_over = threading.Event()

    def watch() -> None:
        with RunReader.open(path) as reader:
            while not is_over.is_set():
                number = len(reader.jobs(1))
                if number % 10:
                    problems.append(f"{number} jobs")

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        for block in range(100):
            rows = [(block * 10 + i, ComputeJob("node0", "a.py"), 1) for i in range(10)]
            store.jobs_submitted(rows)
            store.commit()
    finally:
        is_over.set()
        watching.join(10)
    assert problems == []


_WRITER = """
import itertools, sys
from pathlib import Path
from pipeline.model.jobs import ComputeJob, JobState, Outcome
from pipeline.run.store import RunStore

store = RunStore.open(Path(sys.argv[1]))
store.begin_run("example", "j", "t", sys.argv, "logs")
for n in itertools.count(1):
    store.jobs_submitted([(n, ComputeJob("node0", "a.py", [n]), 1)])
    store.dispatched(n, 1, "node0")
    store.ended(n, 1, Outcome(JobState.OK, 0, 1.0))
    store.finished(n, JobState.OK)
    store.commit()
    print(n, flush=True)
"""


def test_killed_master_loses_nothing_it_committed(directory: Path):
    """After SIGKILL all that was committed is there, nothing is half there, and the next master gets the store."""
    path = directory / "run.sqlite"
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        seen = [writer.stdout.readline() for _ in range(150)]
        os.kill(writer.pid, signal.SIGKILL)
        seen += writer.stdout.readlines()
        writer.wait(10)
    committed = int(seen[-1]) if seen[-1].endswith(b"\n") else int(seen[-2])

    with RunReader.open(path) as reader:
        jobs, attempts, (run,) = reader.jobs(1), reader.attempts(1), reader.runs()
    store = RunStore.open(path)
    next_run = store.begin_run("example", "j", "t", [], "logs")
    store.close()

    assert len(jobs) in (committed, committed + 1)  # one more may have been committed and not yet told
    assert {job.state for job in jobs} == {attempt.state for attempt in attempts} == {JobState.OK}
    assert len(attempts) == len(jobs)
    assert (run.state, next_run) == (RunState.INTERRUPTED, 2)


def test_full_disk_keeps_the_changes_for_another_try(store: RunStore, reader: RunReader, path: Path):
    """A commit that does not fit is one line that names the file; when there is space again nothing is missing."""
    submit(store, 2000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 8192, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"run\.sqlite.*: the run store cannot be written: ") as caught:
            store.commit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    before = reader.jobs(1)
    store.commit()

    assert (len(before), len(reader.jobs(1))) == (0, 2000)
    assert "\n" not in str(caught.value)


def test_file_held_by_another_program_is_one_line(store: RunStore, path: Path):
    """If another program keeps the file locked, the commit fails in bounded time and says so."""
    submit(store)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreError, match="database is locked; another program holds it"):
            store.commit()
    finally:
        other.close()


def test_missing_directory_is_one_line(tmp_path: Path):
    """Without its directory a store cannot be opened; the message says what to check."""
    with pytest.raises(StoreError, match=r"No such file or directory; check that its directory exists"):
        RunStore.open(tmp_path / "nowhere" / "run.sqlite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_directory_is_one_line(directory: Path):
    """In a directory that may not be written a store cannot be opened."""
    directory.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="Permission denied; check that its directory exists and may be written"):
            RunStore.open(directory / "run.sqlite")
    finally:
        directory.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_finished_run_in_a_read_only_directory_can_be_read(store: RunStore, path: Path):
    """An archived run can be looked at without writing beside it."""
    submit(store)
    store.end_run(0)
    store.close()
    path.parent.chmod(0o500)
    try:
        with RunReader.open(path) as reader:
            assert len(reader.jobs(1)) == 1
    finally:
        path.parent.chmod(0o700)


def write_text(path: Path) -> None:
    path.write_text("this is no database, whatever its name says" * 50)


def write_other_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (title TEXT)")
    connection.close()


def write_newer_schema(path: Path) -> None:
    RunStore.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()


@pytest.mark.parametrize("opening", [RunStore.open, RunReader.open])
@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (write_text, "file is not a database; move it away"),
        (write_other_database, "it is a database of another program; move it away"),
        (write_newer_schema, "it has schema 99, this version knows schemas up to 1; use the newer version"),
        (os.mkfifo, "it is not a regular file"),
    ],
)
def test_strange_file_is_refused_and_left_alone(path: Path, opening: Callable, write: Callable, expected: str):
    """Text, another program's database, a newer schema and a FIFO are one line each, and nothing is changed."""
    write(path)
    before = path.read_bytes() if path.is_file() else b""

    with pytest.raises(StoreError, match=expected) as caught:
        opening(path)

    assert "\n" not in str(caught.value)
    assert before == (path.read_bytes() if path.is_file() else b"")


def test_refused_store_leaves_the_directory_free(path: Path):
    """A master that could not open the store does not keep the lock."""
    write_text(path)
    with pytest.raises(StoreError):
        RunStore.open(path)

    assert not is_locked(path.with_name("run.sqlite.lock"))


def test_run_store_without_a_run_is_not_read_as_one(path: Path):
    """An empty file, as a master killed at its very start leaves it, is refused by a reader in one line."""
    path.touch()

    with pytest.raises(StoreError, match="no run has been written to it yet"):
        RunReader.open(path)


def test_network_file_system_shares_no_memory(path: Path):
    """On a network file system the store works without shared memory, and a reader is told to wait."""
    store = RunStore.open(path, on_network=True)
    try:
        store.begin_run("example", "j", "t", [], "logs")
        submit(store)
        store.commit()
        names = {file.name for file in path.parent.iterdir()}
        with pytest.raises(StoreError, match="ask again when the run has ended"):
            RunReader.open(path)
    finally:
        store.close()

    assert "run.sqlite-shm" not in names
    with RunReader.open(path) as reader:
        assert len(reader.jobs(1)) == 1


def test_mounts_are_read_with_blanks_in_their_names():
    """Mount points with escaped blanks and lines with optional fields are understood."""
    table = (
        b"22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        b"40 22 0:35 / /my\\040data rw shared:7 master:3 - nfs4 srv:/x rw\nbad line\n"
    )

    assert parse_mounts(table) == [(b"/", "ext4"), (b"/my data", "nfs4")]


def test_local_directory_is_not_on_a_network():
    """The process's own pseudo file system is not taken for one of a network."""
    assert not is_on_network(Path("/proc/self"))
