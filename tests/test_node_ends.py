"""How an agent ends, and what it must never do: leave processes or files behind, lose output, or eat the memory."""

import hashlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest
from agent_driver import TIMEOUT_S, AgentDriver, eventually, is_alive, running_agent, write_script
from pythons import find_pythons

from pipeline.run.bundle import agent_command, start_message

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and child subreapers")

GONE_S = 15.0  # two seconds are promised, but not with other tests beside this one
OLDEST = next(iter(find_pythons()))
NEWEST = list(find_pythons())[-1]

# Three that ignore TERM and say who they are: the job, a child in a session of its own, a daemon that forked twice.
HOSTILE_TREE = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"%d\\n" % os.getpid())
for is_daemon in (False, True):
    if os.fork() == 0:
        os.setsid()
        if is_daemon and os.fork():
            os._exit(0)
        os.write(1, b"%d\\n" % os.getpid())
        break
time.sleep(300)
"""

# Ignores TERM and has itself forked every few milliseconds: whoever looks at its pid finds it gone already.
REFORKING = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open("beats", "wb", 0) as beats:
    os.write(1, b"pids %d\\n" % os.getpid())
    if os.fork():
        time.sleep(300)
    while True:
        if os.fork():
            os._exit(0)
        os.setsid()
        beats.write(b"x")
        time.sleep(0.005)
"""

# The agent's child with a full pipe: writes more than anything holds, and says how it got on in a file.
FLOOD = """
import hashlib, sys
digest = hashlib.sha256()
for i in range(300):
    data = (b"%06d " % i) * 14286
    digest.update(data)
    sys.stdout.buffer.write(data)
sys.stderr.write(digest.hexdigest())
"""

Start = Callable[..., AgentDriver]


WAYS = [(version, warm) for version in sorted({OLDEST, NEWEST}) for warm in ("off", "at once")]


@pytest.fixture(params=WAYS, ids=lambda way: way[0] if way[1] == "off" else f"{way[0]} warm")
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Start an agent on the oldest or the newest Python with the setup given, without or with warm processes."""
    directory = tmp_path / 'it\'s "t m p"\n'
    directory.mkdir()
    with ExitStack() as stack:
        python, warm = find_pythons()[request.param[0]], request.param[1]
        yield lambda **setup: stack.enter_context(running_agent(python, directory, warm=warm, **setup))


def start_script(agent: AgentDriver, code: str, **options: str) -> int:
    """Start a script of its own that runs this code, by whatever way the agent starts scripts; returns the job."""
    path = agent.directory / "code.py"
    path.write_text(code)
    return agent.start(["python", str(path)], script=True, **options)


def start_tree(agent: AgentDriver) -> list[int]:
    """Start the hostile tree; returns its pids."""
    job_id = start_script(agent, HOSTILE_TREE)
    agent.take_in_until(lambda: agent.output(job_id).count(b"\n") == 3)
    return [int(pid) for pid in agent.output(job_id).split()]


def all_gone(pids: list[int]) -> bool:
    """Whether none of these runs."""
    return not any(map(is_alive, pids))


def test_everything_goes_when_the_master_is_gone(start: Start) -> None:
    """The end of its input ends the jobs, TERM-ignoring daemons too, the agent and its private directory."""
    agent = start(kill_grace=0.2)
    pids = start_tree(agent)
    assert len(agent.private_directories()) == 1

    agent.close_input()

    assert agent.wait(GONE_S) == 0
    assert all_gone(pids)
    assert agent.private_directories() == []


def test_an_idle_agent_goes_at_once_with_its_master(start: Start) -> None:
    """Without jobs there is nothing to wait for."""
    agent = start(kill_grace=60.0)

    agent.close_input()

    assert agent.wait(GONE_S) == 0


def test_the_private_directory_is_private(start: Start) -> None:
    """Only its user can look into it."""
    (directory,) = start().private_directories()

    assert directory.stat().st_mode & 0o777 == 0o700
    assert directory.stat().st_uid == os.geteuid()


def test_stop_ends_the_jobs_and_reports_them(start: Start) -> None:
    """After `stop` each job is reported, then the agent says goodbye and leaves with status 0."""
    agent = start()
    jobs = [agent.start(["sh", "-c", "echo ready; exec sleep 300"]) for _ in range(3)]
    for job_id in jobs:
        agent.wait_for_output(job_id, b"ready")

    agent.send({"k": "stop", "grace_s": 5.0})
    agent.read_to_end()

    assert [agent.result(job_id).state for job_id in jobs] == ["CANCELLED"] * 3
    assert agent.has_said_bye
    assert agent.wait() == 0
    assert agent.private_directories() == []


def test_stop_kills_what_ignores_it(start: Start) -> None:
    """Jobs that do not heed TERM are killed after the grace of the stop, not of the setup."""
    agent = start(kill_grace=60.0)
    pids = start_tree(agent)

    agent.send({"k": "stop", "grace_s": 0.2})
    agent.read_to_end()

    assert agent.result(1).returncode == -9
    assert all_gone(pids)


def test_a_second_stop_shortens_the_grace(start: Start) -> None:
    """A stop with less grace hurries one that is under way."""
    agent = start(kill_grace=60.0)
    pids = start_tree(agent)
    agent.send({"k": "stop", "grace_s": 60.0})

    agent.send({"k": "stop", "grace_s": 0.1})
    agent.read_to_end()

    assert agent.result(1).state == "CANCELLED"
    assert all_gone(pids)


def test_nothing_is_started_after_stop(start: Start) -> None:
    """A job that comes behind the stop is refused, not forgotten."""
    agent = start()
    first = agent.start(["sh", "-c", "trap '' TERM; echo ready; sleep 1"])
    agent.wait_for_output(first, b"ready")
    agent.send({"k": "stop", "grace_s": 5.0})

    late = agent.run(["true"])

    assert (late.state, late.header["message"]) == ("REFUSED", "its agent is stopping")


def test_a_killed_agent_takes_its_jobs_along(start: Start) -> None:
    """When the agent is killed its guardian ends every descendant."""
    agent = start()
    pids = start_tree(agent)

    os.kill(agent.hello["pid"], signal.SIGKILL)

    eventually(lambda: all_gone(pids), GONE_S)
    assert agent.wait() == 256 - signal.SIGKILL
    assert agent.private_directories() == []


def test_a_killed_guardian_takes_all_along(start: Start) -> None:
    """When the guardian is killed the agent ends its jobs and itself, and removes its private directory."""
    agent = start(kill_grace=0.2)
    pids = [agent.hello["pid"], *start_tree(agent)]

    os.kill(agent.process.pid, signal.SIGKILL)

    eventually(lambda: all_gone(pids), GONE_S)
    assert agent.private_directories() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_agent_that_is_ended_from_outside_reports_nothing(start: Start, number: int) -> None:
    """A reboot is a lost connection to the master, not a cancel: no results, no goodbye, and nothing is left."""
    agent = start(kill_grace=0.2)
    pids = start_tree(agent)

    os.kill(agent.hello["pid"], number)
    agent.read_to_end()

    assert "result" not in agent.kinds[1]
    assert not agent.has_said_bye
    assert agent.wait(GONE_S) == 0
    assert all_gone(pids)


@pytest.fixture
def beats(tmp_path: Path) -> Iterator[int]:
    """Make the pipe that a forking tree writes to; returns its end for reading."""
    os.mkfifo(tmp_path / "beats")
    descriptor = os.open(tmp_path / "beats", os.O_RDONLY | os.O_NONBLOCK)
    yield descriptor
    os.close(descriptor)


def beat_is_over(beats: int) -> bool:
    """Whether the pipe is at its end: nobody has it open, so nobody of the tree lives, wherever it has gone."""
    try:
        while os.read(beats, 4096):
            pass
    except BlockingIOError:
        return False
    return True


def start_forking_tree(agent: AgentDriver, directory: Path, beats: int) -> int:
    """Start a tree that forks all the time and wait until it has forked a few times; returns the job."""
    job_id = start_script(agent, REFORKING, cwd=str(directory))
    agent.wait_for_pids(job_id)
    for _ in range(5):
        assert select.select([beats], [], [], TIMEOUT_S)[0]
        os.read(beats, 1)
    return job_id


def test_a_tree_that_forks_all_the_time_is_caught(start: Start, tmp_path: Path, beats: int) -> None:
    """Processes that ignore TERM, call setsid and fork every few milliseconds do not outrun KILL."""
    agent = start(kill_grace=0.2)
    job_id = start_forking_tree(agent, tmp_path, beats)

    agent.send({"k": "cancel", "job": job_id, "attempt": 1})
    result = agent.result(job_id)

    assert (result.state, result.returncode, result.header["survivors"]) == ("CANCELLED", -9, [])
    assert beat_is_over(beats)


def test_a_job_that_leaves_a_forking_tree_behind_ends_clean(start: Start, tmp_path: Path, beats: int) -> None:
    """What forks all the time is found also when its job has ended by itself."""
    agent = start(kill_grace=0.2)
    code = REFORKING.replace("time.sleep(300)", "os._exit(0)")

    result = agent.result(start_script(agent, code, cwd=str(tmp_path)))

    assert (result.state, result.header["left_behind"] > 0) == ("OK", True)
    assert beat_is_over(beats)


def test_a_killed_agent_takes_a_forking_tree_along(start: Start, tmp_path: Path, beats: int) -> None:
    """The guardian leaves only when it has no descendant, however fast they fork."""
    agent = start()
    start_forking_tree(agent, tmp_path, beats)

    os.kill(agent.hello["pid"], signal.SIGKILL)
    agent.wait(GONE_S)

    assert beat_is_over(beats)


def test_a_lease_that_runs_out_ends_everything(start: Start) -> None:
    """Without a sign of life from the master the jobs end, although the session still stands."""
    agent = start(lease=0.5, beat_interval=0.1, kill_grace=0.2)
    pids = start_tree(agent)

    agent.read_to_end()

    assert agent.wait(GONE_S) == 0
    assert all_gone(pids)


def test_signs_of_life_renew_the_lease(start: Start) -> None:
    """A master that only says that it is alive keeps its agent much longer than a lease."""
    agent = start(lease=0.5, beat_interval=0.1)
    job_id = agent.start(["sleep", "1.2"])

    def hears_from_us() -> bool:
        agent.send({"k": "beat"})
        return "result" in agent.kinds[job_id]

    agent.take_in_until(hears_from_us)

    assert agent.result(job_id).state == "OK"


def test_broken_frames_end_the_agent(start: Start) -> None:
    """A master that does not speak the protocol is no master."""
    agent = start(kill_grace=0.2)
    pids = start_tree(agent)

    agent.send_bytes(b"GET / HTTP/1.1\r\n\r\n")

    assert agent.wait(GONE_S) == 0
    assert all_gone(pids)
    assert "the master's frames are broken" in agent.errors.read_text()


def test_a_job_that_kills_its_agent_hurts_itself_only(start: Start) -> None:
    """A job that kills its parent ends with it, and nothing is left."""
    agent = start()
    code = f"import os, signal; os.kill({agent.hello['pid']}, signal.SIGKILL); import time; time.sleep(300)"
    start_script(agent, code)

    agent.read_to_end()

    assert agent.wait() != 0
    assert agent.private_directories() == []


def memory_peak_bytes(pid: int) -> int:
    """Return the most memory that a process had in use."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) << 10


def is_blocked_in_write(pid: int) -> bool:
    """Whether a process has not written a byte for a while."""

    def written() -> tuple[bytes, str]:
        return Path(f"/proc/{pid}/io").read_bytes(), Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    before = written()
    deadline_s = time.monotonic() + 0.3
    return eventually(lambda: written() != before or time.monotonic() > deadline_s) and written() == before


def test_a_flood_blocks_the_job_and_not_the_memory(start: Start) -> None:
    """While the master reads nothing the job waits and the agent stays small; later every byte arrives."""
    agent = start()
    job_id = start_script(agent, FLOOD)
    agent.take_in_until(lambda: job_id in agent.pids)
    eventually(lambda: is_blocked_in_write(agent.pids[job_id]))

    assert memory_peak_bytes(agent.hello["pid"]) < 64 << 20

    result = agent.result(job_id)
    assert len(result.out) == 300 * 14286 * 7
    assert hashlib.sha256(result.out).hexdigest() == result.err.decode()
    assert memory_peak_bytes(agent.hello["pid"]) < 64 << 20


def test_a_flood_of_records_loses_none(start: Start, tmp_path: Path) -> None:
    """A script that logs faster than the master reads waits, and all its records arrive in order."""
    agent = start()
    body = "for i in range(8000):\n    self.logger.info('%d %s', i, 'x' * 2000)"
    job_id = agent.start(["python", write_script(tmp_path, body)], script=True)
    agent.take_in_until(lambda: job_id in agent.pids)
    eventually(lambda: is_blocked_in_write(agent.pids[job_id]))

    numbers = [int(record["m"].partition(" ")[0]) for record in agent.result(job_id).records]

    assert numbers == list(range(8000))
    assert memory_peak_bytes(agent.hello["pid"]) < 64 << 20


def test_output_of_a_job_is_read_while_another_floods(start: Start) -> None:
    """Two jobs that write at the same time both arrive whole."""
    agent = start()
    flood = start_script(agent, FLOOD)
    quiet = agent.run(["sh", "-c", "echo it is quiet here"])

    assert quiet.out == b"it is quiet here\n"
    assert hashlib.sha256(agent.result(flood).out).hexdigest() == agent.result(flood).err.decode()


def test_a_damaged_package_is_refused(tmp_path: Path) -> None:
    """An agent whose code did not arrive whole does not start."""
    message = start_message({"token": "t"})
    command = agent_command(None, is_local=True, interpreter=sys.executable)

    done = subprocess.run(
        command,
        input=message[:-1] + bytes([message[-1] ^ 1]),
        capture_output=True,
        timeout=60,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    assert done.returncode != 0
    assert b"the package arrived damaged" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_failed_initscript_leaves_nothing(tmp_path: Path) -> None:
    """The private directory goes also when the agent does not come to be."""
    message = start_message({"token": "t", "python": None, "initscript": "/nowhere/it's\n"})
    command = agent_command(None, is_local=True, interpreter=sys.executable)

    done = subprocess.run(
        command, input=message, capture_output=True, timeout=60, env={**os.environ, "TMPDIR": str(tmp_path)}
    )

    assert done.returncode != 0
    assert b"failed with exit status" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_agent_with_the_masters_python_does_not_compile(tmp_path: Path) -> None:
    """Its modules come compiled, marked not to be compared with their sources, and it leaves them as they are."""
    with running_agent(sys.executable, tmp_path) as agent:
        (directory,) = agent.private_directories()
        compiled = [path.read_bytes() for path in directory.rglob("*.pyc")]
        sources = list(directory.rglob("*.py"))

    assert len(compiled) == len(sources)
    assert {content[:8] for content in compiled} == {MAGIC_NUMBER + bytes([1, 0, 0, 0])}
