"""The real dispatcher with real agents on this machine and, over both SSH clients, on throw-away hosts."""

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import CLIENTS, WAIT_S, Dispatch, Recipe, eventually, is_running, read_pids, ssh_reach

from pipeline.errors import InputError
from pipeline.formats.frames import FrameReader
from pipeline.hosts.session import Session
from pipeline.model.jobs import CommandJob, ComputeJob, JobState
from pipeline.model.parameters import Parameters
from pipeline.run.notices import JobDefaults
from pipeline.run.reach import Reach
from pipeline.testing import SshHosts, ssh_hosts

# A node script that holds its place until so many run at once on its host, and notes the highest number ever seen.
CROWD = """
import fcntl, json, sys, time
from pathlib import Path
from pipeline import Node

class crowd(Node):
    def run(self, directory, weight, wanted):
        book = Path(directory) / (self.logger.name.split(".")[1] + ".json")
        self.change(book, weight)
        deadline_s = time.monotonic() + 10.0
        while self.change(book, 0) < wanted and time.monotonic() < deadline_s:
            time.sleep(0.005)
        time.sleep(0.02)  # a chance for one too many to be seen
        self.change(book, -weight)

    def change(self, book, weight):
        with open(book, "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            here, peak = json.loads(file.read() or "[0, 0]")
            here, peak = here + weight, max(peak, here + weight)
            file.truncate(0)
            file.write(json.dumps([here, peak]))
            return peak

sys.exit(crowd.main())
"""
TELL = """
import os, sys
from pipeline import Node

class tell(Node):
    def run(self, *args):
        self.outputs["args"] = [os.fsencode(arg).hex() if isinstance(arg, str) else arg for arg in args]
        self.outputs["count"] = len(sys.argv) - 3
        self.outputs["environment"] = os.environ.get("ASKED")
        self.logger.info("told")

sys.exit(tell.main())
"""
TRUE = {"kind": "command", "host": "localhost", "command": ["true"]}


def write_script(directory: Path, name: str, text: str) -> str:
    """Write a node script into a folder with an awkward name and return its path."""
    folder = directory / 'it\'s a\n"folder"'
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    return str(folder / f"{name}.py")


def make_reach(way: str, request: pytest.FixtureRequest) -> Reach:
    """Return how node1 and node2 are reached: both this machine, or throw-away hosts."""
    if way == "local":
        return Reach(method="local")
    if way == "openssh" and shutil.which("ssh") is None:
        pytest.skip("ssh is not installed (Debian: openssh-client)")
    return ssh_reach(request.getfixturevalue("ssh_pair"), way)


@pytest.fixture(scope="module", params=["local", *CLIENTS])
def dispatch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dispatch]:
    """One dispatcher for each way, shared by the tests of this file that leave it as they found it."""
    with Dispatch(tmp_path_factory.mktemp("dispatch"), make_reach(request.param, request)) as dispatch:
        yield dispatch


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Dispatch]:
    """A dispatcher of a test's own, on this machine."""
    with Dispatch(tmp_path, Reach(method="local", parameters=Parameters(kill_grace=1.0))) as dispatch:
        yield dispatch


@pytest.fixture
def own_pair() -> Iterator[SshHosts]:
    """Two throw-away hosts for a test that does something to them."""
    with ssh_hosts(2) as hosts:
        yield hosts


# -- results


def test_a_job_that_ends_well_has_all_its_results(dispatch: Dispatch, tmp_path: Path) -> None:
    """Results hold the exit status, where and how long it ran, its resources, its outputs and what it printed."""
    job = ComputeJob("node2", ["python", write_script(tmp_path, "tell", TELL)], arguments=["a b", 7])

    [results] = dispatch.run([job])

    assert results["status"] == "OK"
    assert results["returncode"] == 0
    assert (results["host"], results["attempts"], results["job_id"]) == ("node2", 1, max(dispatch_ids(dispatch)))
    assert 0.0 < results["job_duration"] < WAIT_S
    assert results["max_rss_bytes"] > 1 << 20
    assert results["user_s"] + results["system_s"] > 0.0
    assert results["args"] == [b"a b".hex(), 7]
    assert results["message"] == ""


def dispatch_ids(dispatch: Dispatch) -> list[int]:
    """Return the ids of all jobs in the store of a dispatcher."""
    reader = dispatch.read_store()
    try:
        return [job.job_id for job in reader.jobs(1)]
    finally:
        reader.close()


@pytest.mark.parametrize("code", [1, 2, 126, 255])
def test_an_exit_status_arrives_as_it_is(dispatch: Dispatch, code: int) -> None:
    """The exit status of a program is its own, also 255, which ssh uses for its own failures."""
    [results] = dispatch.run([CommandJob("node1", ["sh", "-c", f"exit {code}"])])

    assert (results["status"], results["returncode"]) == ("FAILED", code)
    assert results["message"].startswith(f"exit status {code} after ")


@pytest.mark.parametrize("signum", [1, 9, 11, 15])
def test_a_signal_arrives_as_a_negative_number(dispatch: Dispatch, signum: int) -> None:
    """A program killed by a signal has that signal's number, negative."""
    [results] = dispatch.run([CommandJob("node1", ["sh", "-c", f"kill -{signum} $$; sleep 30"])])

    assert (results["status"], results["returncode"]) == ("SIGNALED", -signum)
    assert results["message"].startswith(f"killed by signal {signum} (SIG")


def test_the_tails_of_both_streams_arrive(dispatch: Dispatch) -> None:
    """The last 4 KiB of standard output and error are in the results, and the last error line in the message."""
    script = "printf '%05000d' 1; echo 'the reason' >&2; exit 3"

    [results] = dispatch.run([CommandJob("node1", ["sh", "-c", script])])

    assert results["stdout_tail"] == "0" * 4095 + "1"
    assert results["stderr_tail"] == "the reason\n"
    assert results["message"].endswith('last line: "the reason"')


def test_scripts_and_programs_run_in_one_list(dispatch: Dispatch, tmp_path: Path) -> None:
    """Node scripts and plain programs, for two hosts, are run together and end each with its own results."""
    script = ["python", write_script(tmp_path, "tell", TELL)]
    jobs = [
        ComputeJob("node1", script, arguments=["x"]),
        CommandJob("node2", ["printf", "%s|%s", "a"], arguments=["b 'c'"]),
        ComputeJob("node2", script, arguments=["y"]),
        CommandJob("node1", "false"),
    ]

    results = dispatch.run(jobs)

    assert [result["status"] for result in results] == ["OK", "OK", "OK", "FAILED"]
    assert results[1]["stdout_tail"] == "a|b 'c'"
    assert [results[0]["args"], results[2]["args"]] == [[b"x".hex()], [b"y".hex()]]
    assert [result["host"] for result in results] == ["node1", "node2", "node2", "node1"]


def test_ten_thousand_arguments_arrive(dispatch: Dispatch, tmp_path: Path) -> None:
    """A node script gets 10,000 arguments, in order."""
    arguments = [f"{i} 'quoted'" for i in range(10_000)]

    [results] = dispatch.run(
        [ComputeJob("node1", ["python", write_script(tmp_path, "tell", TELL)], arguments=arguments)]
    )

    assert results["count"] == 10_000
    assert [bytes.fromhex(arg).decode() for arg in results["args"]] == arguments


def test_an_argument_of_a_megabyte_arrives(dispatch: Dispatch, tmp_path: Path) -> None:
    """One argument of 1 MB of any bytes but NUL reaches a node script byte for byte."""
    data = os.urandom(1_000_000).replace(b"\0", b"\xff")

    [results] = dispatch.run([ComputeJob("node2", ["python", write_script(tmp_path, "tell", TELL)], arguments=[data])])

    assert bytes.fromhex(results["args"][0]) == data


def test_awkward_arguments_arrive_in_a_program(dispatch: Dispatch) -> None:
    """No shell sees the arguments of a program: blanks, quotes, newlines, dollars and empty ones arrive as they are."""
    arguments = ["", " ", "'", '"', "a\nb", "$HOME", "`id`", "*", "--", "\\", "; exit 1", "é"]

    [results] = dispatch.run([CommandJob("node1", ["printf", "%s\\0"], arguments=arguments)])

    assert results["stdout_tail"].encode("utf-8", "surrogateescape").decode() == "".join(f"{a}\0" for a in arguments)


def test_the_environment_of_a_job_wins(dispatch: Dispatch, tmp_path: Path) -> None:
    """A job has the environment of its batch, changed by its own."""
    script = ["python", write_script(tmp_path, "tell", TELL)]
    value = 'it\'s = "a"\nvalue'
    jobs = [ComputeJob("node1", script), ComputeJob("node1", script, environment={"ASKED": value})]

    results = dispatch.run(jobs, environment={"ASKED": "batch"})

    assert [result["environment"] for result in results] == ["batch", value]


def test_the_jobs_passed_are_those_filled_in(here: Dispatch) -> None:
    """The handle returns the very job objects that were submitted, with their results in them."""
    jobs = [CommandJob("node1", "true"), CommandJob("node1", "true")]

    done = here.submit(jobs).wait(WAIT_S)

    assert list(done) == [1, 2]
    assert all(mine is theirs for mine, theirs in zip(done.values(), jobs, strict=True))
    assert [job.results["job_id"] for job in jobs] == [1, 2]


def test_a_program_that_is_missing_is_refused(dispatch: Dispatch) -> None:
    """A program that is not there never started: REFUSED, with one line that names it."""
    [results] = dispatch.run([CommandJob("node1", ["/nowhere/it's a program"])])

    assert (results["status"], results["returncode"]) == ("REFUSED", None)
    assert results["message"] == 'no program "/nowhere/it\'s a program" there'


def test_arguments_no_frame_can_carry_are_refused_at_once(here: Dispatch) -> None:
    """A job with more than 64 MiB of arguments is the user's mistake, said before anything is sent; others run."""
    with pytest.raises(InputError, match=r"job 'true'.*MiB"):
        here.submit([CommandJob("node1", "true", arguments=["x" * (70 << 20)])])

    assert here.run([CommandJob("node1", "true")])[0]["status"] == "OK"


def test_a_declared_output_that_is_missing_fails_the_job(dispatch: Dispatch, tmp_path: Path) -> None:
    """A job that ends with 0 but has not made its output FAILED; one that has made it is OK."""
    path = tmp_path / "an output's name"
    jobs = [
        CommandJob("node1", "true", outputs=[str(path)]),
        CommandJob("node2", ["touch"], arguments=[str(path) + "2"], outputs=[str(path) + "2"]),
    ]

    missing, made = dispatch.run(jobs)

    assert (missing["status"], missing["returncode"], made["status"]) == ("FAILED", 0, "OK")
    assert missing["message"].endswith(f"but its output {str(path)!r} is not there")


# -- the handle


def test_jobs_are_handed_out_as_they_complete(here: Dispatch, tmp_path: Path) -> None:
    """Iterating gives the job that ends first first, though it was submitted last."""
    gate = tmp_path / "gate"
    slow = CommandJob("node1", ["sh", "-c", 'until [ -e "$1" ]; do sleep 0.02; done', "sh"], arguments=[str(gate)])
    quick = CommandJob("node1", "true")

    batch = iter(here.submit([slow, quick]))
    first = next(batch)
    assert not slow.results
    gate.touch()

    assert first is quick
    assert next(batch) is slow
    assert next(batch, None) is None


def test_waiting_has_a_limit(here: Dispatch) -> None:
    """A wait that takes too long raises TimeoutError; the job goes on and can be waited for again."""
    batch = here.submit([CommandJob("node1", ["sleep", "0.5"])])

    with pytest.raises(TimeoutError, match=r"1 of 1 jobs not final after 0\.05 s"):
        batch.wait(0.05)

    assert batch.wait(WAIT_S)[1].results["status"] == "OK"


def test_cancelling_ends_those_that_run_and_drops_those_that_wait(dispatch: Dispatch, tmp_path: Path) -> None:
    """After `cancel` every job of the batch is CANCELLED, the processes are gone, and other batches go on."""
    pids = tmp_path / "pids"
    program = ["sh", "-c", 'echo $$ >> "$1"; exec sleep 60', "sh"]
    batch = dispatch.submit([CommandJob("node1", program, arguments=[str(pids)]) for _ in range(3)], 2)
    eventually(lambda: len(read_pids(pids)) == 2)

    batch.cancel()
    done = batch.wait(WAIT_S)

    assert [job.results["status"] for job in done.values()] == ["CANCELLED"] * 3
    assert [job.results["attempts"] for job in done.values()] == [1, 1, 0]
    assert not any(map(is_running, read_pids(pids)))
    assert dispatch.run([CommandJob("node1", "true")])[0]["status"] == "OK"


def test_a_job_that_waits_for_its_imports_is_cancelled(tmp_path: Path) -> None:
    """Nothing is started in order to be ended; the job says that it had not begun."""
    hang = "if b'warm.py' in open('/proc/self/cmdline', 'rb').read():\n    os.close(os.open('hangs', os.O_CREAT))"
    (tmp_path / "beside.py").write_text(f"import os, time\n{hang}\n    time.sleep(300)")
    (tmp_path / "script.py").write_text("import beside\nopen('ran', 'w')")
    with Dispatch(tmp_path, Reach(method="local", warm="at once")) as dispatch:
        batch = dispatch.submit([ComputeJob("node1", ["python", str(tmp_path / "script.py")], cwd=str(tmp_path))])
        eventually((tmp_path / "hangs").exists)

        batch.cancel()
        (job,) = batch.wait(WAIT_S).values()

    assert (job.results["status"], job.results["message"]) == ("CANCELLED", "it had not begun")
    assert not (tmp_path / "ran").exists()


def test_cancelled_jobs_are_no_errors(here: Dispatch, caplog: pytest.LogCaptureFixture) -> None:
    """Jobs that somebody cancelled are told of at INFO: 10^5 of them must not fill the user's terminal."""
    batch = here.submit([CommandJob("node1", ["sleep", "60"]), CommandJob("node1", "true")], 1)

    batch.cancel()
    batch.wait(WAIT_S)

    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_a_failed_job_sets_the_error_before_the_others_end(here: Dispatch, tmp_path: Path) -> None:
    """The event that comes with a batch is set by the first job that fails, and not by one that ends well."""
    error = threading.Event()
    gate = ["sh", "-c", 'until [ -e "$1" ]; do sleep 0.02; done', "sh"]
    jobs = [
        CommandJob("node1", "true"),
        CommandJob("node1", "false"),
        CommandJob("node1", [*gate, str(tmp_path / "x")]),
    ]
    logger = logging.getLogger("test_recipe")

    batch = here.dispatcher.submit(jobs[:1], 4, logger, 1, JobDefaults(), error)
    batch.wait(WAIT_S)
    assert not error.is_set()
    batch = here.dispatcher.submit(jobs[1:], 4, logger, 2, JobDefaults(), error)

    assert error.wait(WAIT_S)
    assert not jobs[2].results
    (tmp_path / "x").touch()
    batch.wait(WAIT_S)


# -- how many at a time


def crowd_jobs(script: str, directory: Path, n: int, wanted: int, cores: int = 1) -> list[ComputeJob]:
    """Return n jobs on each of two hosts that note how many of them there are at once."""
    return [
        ComputeJob(host, ["python", script], arguments=[str(directory), cores, wanted], resources={"cores": cores})
        for _ in range(n)
        for host in ("node1", "node2")
    ]


def peaks(directory: Path) -> list[int]:
    """Return the highest number seen at once, by host."""
    return [int(path.read_text().strip("[]").split(",")[1]) for path in sorted(directory.glob("node*.json"))]


def test_the_limit_holds_over_batches_and_threads(dispatch: Dispatch, tmp_path: Path) -> None:
    """Four batches from two threads never have more jobs at once on a host than the limit, and do reach it."""
    script = write_script(tmp_path, "crowd", CROWD)
    batches: list[list[dict[str, Any]]] = []

    def submit() -> None:
        one, two = (crowd_jobs(script, tmp_path, 4, 3) for _ in range(2))
        batch = dispatch.submit(one, 3)
        batches.append(dispatch.run(two, 3))
        batches.append([job.results for job in batch.wait(WAIT_S).values()])

    threads = [threading.Thread(target=submit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)

    assert [result["status"] for results in batches for result in results] == ["OK"] * 32
    assert peaks(tmp_path) == [3, 3]


def test_a_job_of_several_cores_takes_as_many_slots(here: Dispatch, tmp_path: Path) -> None:
    """With a limit of 4, at most two jobs of two cores run at once."""
    script = write_script(tmp_path, "crowd", CROWD)

    results = here.run(crowd_jobs(script, tmp_path, 5, 4, cores=2), 4)

    assert {result["status"] for result in results} == {"OK"}
    assert peaks(tmp_path) == [4, 4]


def test_without_a_limit_the_cores_of_the_host_count(here: Dispatch, tmp_path: Path) -> None:
    """None is one job per core that the host may use."""
    cores = len(os.sched_getaffinity(0))
    script = write_script(tmp_path, "crowd", CROWD)

    here.run(crowd_jobs(script, tmp_path, cores + 2, cores), None)

    assert peaks(tmp_path) == [cores, cores]


def test_a_limit_of_zero_is_none(here: Dispatch, tmp_path: Path) -> None:
    """With 0 all jobs run at once."""
    script = write_script(tmp_path, "crowd", CROWD)

    here.run(crowd_jobs(script, tmp_path, 12, 12), 0)

    assert peaks(tmp_path) == [12, 12]


# -- what does not go well


def test_a_failed_job_is_tried_again_as_often_as_asked(here: Dispatch, tmp_path: Path) -> None:
    """With two retries a job that succeeds the third time is OK after three attempts, each told in the log."""
    tries = tmp_path / "tries"
    script = 'echo x >> "$1"; [ $(wc -l < "$1") -eq 3 ]'
    stubborn = CommandJob("node1", "false", retries=1)

    [results, failed] = here.run(
        [CommandJob("node1", ["sh", "-c", script, "sh"], arguments=[str(tries)]), stubborn], retries=2
    )

    assert (results["status"], results["attempts"]) == ("OK", 3)
    assert (failed["status"], failed["attempts"]) == ("FAILED", 2)


def test_a_retry_is_a_warning(here: Dispatch, caplog: pytest.LogCaptureFixture) -> None:
    """An attempt that failed and is not the last one is one WARNING, the last one ERROR."""
    here.run([CommandJob("node1", "false", retries=1)])

    lines = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "test_recipe"]
    warning, error = [(level, text) for level, text in lines if level in ("WARNING", "ERROR")]
    assert warning[0] == "WARNING"
    assert warning[1].endswith("exit status 1 after 0.0 s; it gets attempt 2 of 2")
    assert error[0] == "ERROR"
    assert error[1].startswith("job 1 (false) on node1: exit status 1 after 0.0 s; log: ")


def test_a_job_over_its_time_is_ended(dispatch: Dispatch, tmp_path: Path) -> None:
    """A job that takes longer than `timeout_s` is TIMEOUT and its process gone; its own limit wins over the batch's."""
    pids = tmp_path / "pids"
    program = ["sh", "-c", 'echo $$ >> "$1"; exec sleep 60', "sh"]
    jobs = [CommandJob("node1", program, arguments=[str(pids)], timeout_s=0.3), CommandJob("node1", ["sleep", "0.5"])]

    late, fine = dispatch.run(jobs, timeout_s=30.0)

    assert (late["status"], late["returncode"], fine["status"]) == ("TIMEOUT", -15, "OK")
    assert 0.3 <= late["job_duration"] < 5.0
    assert not any(map(is_running, read_pids(pids)))


def test_the_first_failure_stops_the_batch_if_so_asked(here: Dispatch) -> None:
    """With failure_policy = stop a failure cancels what runs and what waits; another batch is not touched."""
    other = here.submit([CommandJob("node2", ["sleep", "0.5"])])
    jobs = [CommandJob("node1", ["sleep", "60"]), CommandJob("node1", "false"), CommandJob("node1", ["sleep", "60"])]

    results = here.run(jobs, 2, stops_on_failure=True)

    assert [result["status"] for result in results] == ["CANCELLED", "FAILED", "CANCELLED"]
    assert other.wait(WAIT_S)[1].results["status"] == "OK"


def test_a_failure_leaves_the_others_alone(here: Dispatch) -> None:
    """By default the other jobs of a batch go on."""
    results = here.run([CommandJob("node1", "false"), CommandJob("node1", "true"), CommandJob("node2", "true")], 1)

    assert [result["status"] for result in results] == ["FAILED", "OK", "OK"]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_cut_session_loses_only_its_own_jobs(
    client: str, own_pair: SshHosts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When a host's SSH session is killed its running jobs are LOST, a line each, and gone; the other host goes on."""
    pids = tmp_path / "pids"
    program = ["sh", "-c", 'echo $$ >> "$1"; exec sleep 60', "sh"]
    with Dispatch(tmp_path, ssh_reach(own_pair, client, retry_wait=0.1, kill_grace=1.0)) as dispatch:
        lost = dispatch.submit([CommandJob("node1", program, arguments=[str(pids)]) for _ in range(2)])
        other = dispatch.submit([CommandJob("node2", ["sleep", "1"])])
        eventually(lambda: len(read_pids(pids)) == 2)

        own_pair["node1"].drop_connections()

        statuses = [job.results["status"] for job in lost.wait(WAIT_S).values()]
        assert statuses == ["LOST", "LOST"]
        assert other.wait(WAIT_S)[3].results["status"] == "OK"
        assert dispatch.dispatcher.has_lost
        eventually(lambda: not any(map(is_running, read_pids(pids))))
        # The host is reached again: a job that came later runs there.
        assert dispatch.run([CommandJob("node1", "true")])[0]["status"] == "OK"
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(lines) == 2
    assert all(line.startswith(f"job {i} (sh) on node1: ") for i, line in enumerate(lines, 1))


@pytest.mark.parametrize("client", CLIENTS)
def test_a_job_runs_on_its_second_host_when_the_first_is_down(client: str, own_pair: SshHosts, tmp_path: Path) -> None:
    """A job with replicas on two hosts runs on the second when the first refuses connections."""
    own_pair["node1"].stop()
    reach = ssh_reach(own_pair, client, retry_wait=0.05, connect_retries=1)
    with Dispatch(tmp_path, reach) as dispatch:
        results = dispatch.run([CommandJob(["node1", "node2"], "true"), CommandJob(["node2", "node1"], "true")])

    assert [(result["status"], result["host"]) for result in results] == [("OK", "node2")] * 2


def test_replicas_are_used_in_order_of_preference(dispatch: Dispatch) -> None:
    """With both hosts there and a free slot, each job runs on its first host."""
    results = dispatch.run([CommandJob(["node2", "node1"], "true"), CommandJob(["node1", "node2"], "true")], 2)

    assert [result["host"] for result in results] == ["node2", "node1"]


def test_a_job_whose_hosts_are_all_down_is_lost_with_the_reasons(own_pair: SshHosts, tmp_path: Path) -> None:
    """When no host of a job can be reached it is LOST, and its message has every host's verdict."""
    for host in own_pair.hosts:
        host.stop()
    reach = ssh_reach(own_pair, "paramiko", retry_wait=0.05, connect_retries=0)
    with Dispatch(tmp_path, reach) as dispatch:
        [results] = dispatch.run([CommandJob(["node1", "node2"], "true")])

    assert (results["status"], results["host"], results["attempts"]) == ("LOST", None, 0)
    assert results["message"].count("refused") == 2


def test_every_state_is_in_the_store(here: Dispatch) -> None:
    """What the store says of each job is what its results say."""
    jobs = [CommandJob("node1", "true"), CommandJob("node1", "false"), CommandJob("node1", "/nowhere/program")]
    results = here.run([*jobs, CommandJob("node1", ["sleep", "9"], timeout_s=0.1)])

    reader = here.read_store()
    rows = reader.jobs(1)
    reader.close()
    assert [row.state.value for row in rows] == [result["status"] for result in results]
    assert [row.state for row in rows] == [JobState.OK, JobState.FAILED, JobState.REFUSED, JobState.TIMEOUT]
    assert [row.message for row in rows] == [result["message"] for result in results]


def test_a_job_that_runs_is_so_in_the_store(here: Dispatch, tmp_path: Path) -> None:
    """That a job has started is in the store soon, though nothing else happens in the run."""
    batch = here.submit(
        [CommandJob("node1", ["sh", "-c", "until [ -e gate ]; do sleep 0.02; done"], cwd=str(tmp_path))]
    )

    reader = here.read_store()
    eventually(lambda: [row.state for row in reader.jobs(1)] == [JobState.RUNNING], 2.0)
    reader.close()
    (tmp_path / "gate").touch()
    assert batch.wait(WAIT_S)[1].results["status"] == "OK"


class Overheard:
    """A session; `hear` is called with the kind of each message of the sender's, before that is sent."""

    def __init__(self, session: Session, hear: Callable[[str], None]) -> None:
        self._session = session
        self._hear = hear

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def write_now(self, data: bytes) -> int:
        for header, _ in FrameReader().feed(data):
            self._hear(header["k"])
        return self._session.write_now(data)


@dataclass(frozen=True)
class OverheardReach(Reach):
    """This machine, and what is sent there is heard."""

    method: str = "local"
    hear: Callable[[str], None] = print

    def open_session(self, host: str) -> Any:
        return Overheard(super().open_session(host), self.hear)


def test_nothing_is_sent_or_acknowledged_before_it_is_in_the_store(tmp_path: Path) -> None:
    """When a job goes out, a reader of the store finds it dispatched; when its result is acknowledged, ended."""
    heard: list[tuple[str, list[str]]] = []

    def hear(kind: str) -> None:
        with dispatch.read_store() as reader:
            heard.append((kind, [attempt.state.name for attempt in reader.attempts(1)]))

    with Dispatch(tmp_path, OverheardReach(hear=hear)) as dispatch:
        for program in ("true", "false"):
            dispatch.run([CommandJob("node1", program)])

    assert [(kind, states) for kind, states in heard if kind in ("run", "ack")] == [
        ("run", ["DISPATCHED"]),
        ("ack", ["OK"]),
        ("run", ["OK", "DISPATCHED"]),
        ("ack", ["OK", "FAILED"]),
    ]


def test_nobody_is_told_of_a_result_before_it_is_in_the_store(here: Dispatch) -> None:
    """When a recipe's error is set, a reader of the store finds the job that failed."""
    found: list[str] = []

    class Error(threading.Event):
        def set(self) -> None:
            with here.read_store() as reader:
                found.extend(job.state.name for job in reader.jobs(1))
            super().set()

    logger = logging.getLogger("test_recipe")
    batch = here.dispatcher.submit([CommandJob("node1", "false")], 4, logger, 1, JobDefaults(), Error())
    batch.wait(WAIT_S)

    assert found == ["FAILED"]


# -- as a recipe


def test_a_store_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    """When the run store cannot be written in mid-run there is one line, exit status 4, and no process is left."""
    pids = tmp_path / "pids"
    sleeper = {"kind": "command", "host": "localhost", "command": ["sh", "-c", 'echo $$ >> "$1"; exec sleep 60', "sh"]}
    jobs = [sleeper | {"arguments": [str(pids)]}, *[TRUE] * 1500]
    recipe = Recipe(tmp_path / "recipe", "[remote]\nmax_per_node = 4\n")

    # The limit on the size of files stands for a full disk; the job list itself has to be below it.
    done = recipe.finish(recipe.start(jobs, max_file_bytes=400_000))

    assert done.returncode == 4
    [line] = done.stderr.splitlines()
    assert "run.sqlite: the run store cannot be written: " in line
    assert not any(map(is_running, read_pids(pids)))


@pytest.mark.parametrize(
    ("config", "options", "said"),
    [
        ("", [], "one per core (nothing else is said)"),
        ("[remote]\nmax_per_node = 5\n", [], "5 (pipeline.cfg:2)"),
        ("[remote]\nmax_per_node = 5\n", ["--max-per-node", "0"], "no limit (max_per_node from command line)"),
        ("", ["--max_per_node=2"], "2 (max_per_node from command line)"),
    ],
)
def test_the_log_says_which_limit_counts_and_why(tmp_path: Path, config: str, options: list[str], said: str) -> None:
    """Option wins over configuration, that over the number of cores, and the log names value and source."""
    done = Recipe(tmp_path / "a recipe's directory", config).run([TRUE], "-v", *options)

    assert done.returncode == 0
    assert any(line.endswith(f"Jobs at a time on a host: {said}") for line in done.stderr.splitlines()), done.stderr


def test_a_lost_job_makes_the_recipe_exit_with_3(own_pair: SshHosts, tmp_path: Path) -> None:
    """When a host is cut off in mid-run the recipe has one line for each lost job, runs the others and exits with 3."""
    pids = tmp_path / "pids"
    program = {"kind": "command", "command": ["sh", "-c", 'echo $$ >> "$1"; exec sleep "$2"', "sh"]}
    jobs = [
        program | {"host": host, "arguments": [str(pids), seconds]}
        for host, seconds in (("node1", "60"), ("node1", "60"), ("node2", "2"))
    ]
    recipe = Recipe(tmp_path / "recipe", own_pair.config_text() + "max_per_node = 4\n")
    process = recipe.start(jobs)
    eventually(lambda: len(read_pids(pids)) == 3)

    own_pair["node1"].drop_connections()
    done = recipe.finish(process)

    assert done.returncode == 3
    assert [result["status"] for result in done.results] == ["LOST", "LOST", "OK"]
    assert len(done.job_lines) == 2
    assert "Traceback" not in done.stderr
