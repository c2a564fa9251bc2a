"""Whatever ends a run over SSH, no process of it is left on a host: not even one that hides or ignores TERM."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import CLIENTS, WAIT_S, Done, Recipe, eventually, is_running, read_pids

from pipeline.run.store_reader import RunState
from pipeline.testing import SshHosts

# Each writes its pid to the file that is its first argument.
PROGRAMS = {
    "plain": 'echo $$ >> "$1"; exec sleep 1000',
    "deaf": 'trap "" TERM; echo $$ >> "$1"; exec sleep 1000',
    "hiding": '(setsid sh -c \'echo $$ >> "$1"; exec sleep 1000\' sh "$1" &); echo $$ >> "$1"; exec sleep 1000',
}
N_PIDS = 4  # of these three, on one host

Tell = Callable[[str, float], None]


@pytest.fixture
def tell(record_property: Callable[[str, Any], None]) -> Tell:
    """Report a time: with -s on the terminal, always in the test's record."""

    def tell(what: str, seconds: float) -> None:
        record_property(what, round(seconds, 3))
        print(f"{what}: {seconds:.2f} s")

    return tell


class Victim:
    """A running recipe with three jobs on each of two hosts, and the pids of all they started."""

    def __init__(self, hosts: SshHosts, directory: Path, config: str) -> None:
        self.pid_file = directory / "the pids' file"
        self.recipe = Recipe(directory / "recipe", hosts.config_text() + "max_per_node = 8\n" + config)
        jobs = [
            {"kind": "command", "name": name, "host": host, "command": ["sh", "-c", program, "sh", str(self.pid_file)]}
            for host in hosts.names
            for name, program in PROGRAMS.items()
        ]
        self.process = self.recipe.start(jobs)
        eventually(lambda: len(self.pids) == 2 * N_PIDS)
        assert all(map(is_running, self.pids))

    @property
    def pids(self) -> list[int]:
        """What the jobs wrote down."""
        return read_pids(self.pid_file)

    def interrupt(self, number: int) -> None:
        """Send a signal as a terminal does: to the master's whole process group."""
        os.killpg(self.process.pid, number)

    def seconds_to_gone(self, timeout_s: float) -> float:
        """Wait until no process of the jobs is left and return how long that took."""
        started_s = time.monotonic()
        eventually(lambda: not any(map(is_running, self.pids)), timeout_s)
        return time.monotonic() - started_s

    def finish(self) -> Done:
        """Wait for the master's end."""
        return self.recipe.finish(self.process)

    def state(self) -> RunState:
        """Return how the run stands in its store."""
        reader = self.recipe.read_store()
        try:
            summary = reader.summary()
            assert summary
            return summary.run.state
        finally:
            reader.close()

    def clear_up(self) -> None:
        """Leave nothing, whatever the test found."""
        self.process.kill()
        self.process.communicate(timeout=WAIT_S)
        for pid in self.pids:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(params=CLIENTS)
def victim(request: pytest.FixtureRequest, ssh_pair: SshHosts, tmp_path: Path) -> Iterator[Callable[..., Victim]]:
    """Start a recipe to be killed, over each SSH client."""
    victims: list[Victim] = []

    def start(config: str = "") -> Victim:
        victims.append(Victim(ssh_pair, tmp_path, f"ssh_client = {request.param}\n{config}"))
        return victims[-1]

    yield start
    for victim in victims:
        victim.clear_up()


def check_interrupted(done: Done, code: int) -> None:
    """Expect an orderly end, and no word of anything left."""
    assert done.returncode == code, done.stderr
    assert "may be left" not in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_everything(victim: Callable[..., Victim], tell: Tell) -> None:
    """One Ctrl-C: TERM, KILL after 5 s, every process gone and the master out with 130 in 10 s."""
    running = victim()

    running.interrupt(signal.SIGINT)
    started_s = time.monotonic()
    seconds = running.seconds_to_gone(10.0)
    done = running.finish()

    tell("Ctrl-C to the last process gone", seconds)
    tell("Ctrl-C to the end of the master", time.monotonic() - started_s)
    check_interrupted(done, 130)
    assert time.monotonic() - started_s < 10.0
    assert running.state() is RunState.FAILED


def test_a_second_ctrl_c_hurries(victim: Callable[..., Victim], tell: Tell) -> None:
    """A second Ctrl-C does not wait for the deaf: every process gone and the master out with 130 in 3 s."""
    running = victim()

    running.interrupt(signal.SIGINT)
    eventually(lambda: sum(map(is_running, running.pids)) == 2)  # only those that ignore TERM are left
    running.interrupt(signal.SIGINT)
    started_s = time.monotonic()
    seconds = running.seconds_to_gone(3.0)
    done = running.finish()

    tell("second Ctrl-C to the last process gone", seconds)
    check_interrupted(done, 130)
    assert time.monotonic() - started_s < 3.0


def test_term_ends_everything(victim: Callable[..., Victim], tell: Tell) -> None:
    """SIGTERM to the master alone does the same as Ctrl-C, and it exits with 143."""
    running = victim("kill_grace = 1\n")

    running.process.terminate()
    seconds = running.seconds_to_gone(10.0)
    done = running.finish()

    tell("SIGTERM to the last process gone", seconds)
    check_interrupted(done, 143)


def test_a_master_that_is_killed_leaves_nothing(victim: Callable[..., Victim], tell: Tell) -> None:
    """When the master gets SIGKILL the agents end all processes, and the store says that the run was interrupted."""
    running = victim("kill_grace = 1\n")

    running.process.kill()
    seconds = running.seconds_to_gone(40.0)
    running.process.communicate(timeout=WAIT_S)

    tell("SIGKILL of the master to the last process gone", seconds)
    assert running.state() is RunState.INTERRUPTED


def parent_of(pid: int) -> int:
    """Return the pid of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_an_agent_that_is_killed_leaves_nothing(victim: Callable[..., Victim], tell: Tell) -> None:
    """When an agent gets SIGKILL its host's processes are gone in 2 s, its jobs LOST, the other host's go on."""
    running = victim("kill_grace = 1\n")
    reader = running.recipe.read_store()
    eventually(lambda: all(row.pid for row in reader.attempts(1)))
    first, _, _, *others = (row.pid or 0 for row in reader.attempts(1))
    agent = parent_of(first)
    others_agent = parent_of(others[0])
    mine = [pid for pid in running.pids if has_ancestor(pid, parent_of(agent))]
    assert len(mine) == N_PIDS

    os.kill(agent, signal.SIGKILL)
    started_s = time.monotonic()
    eventually(lambda: not any(map(is_running, mine)), 2.0)
    seconds = time.monotonic() - started_s

    tell("SIGKILL of an agent to its last process gone", seconds)
    assert is_running(others_agent)
    assert all(map(is_running, others))
    eventually(lambda: [row.state.value for row in reader.jobs(1)][:3] == ["LOST"] * 3)
    assert [row.state.value for row in reader.jobs(1)][3:] == ["RUNNING"] * 3
    reader.close()
    running.interrupt(signal.SIGINT)
    done = running.finish()
    assert done.returncode == 130
    lost = [line for line in done.job_lines if "on node1" in line]
    assert len(lost) == 3


def has_ancestor(pid: int, ancestor: int) -> bool:
    """Tell whether a process descends from another."""
    while pid > 1:
        if pid == ancestor:
            return True
        pid = parent_of(pid)
    return False


def test_ctrl_c_while_a_host_hangs(tmp_path: Path) -> None:
    """Ctrl-C while a host that accepts connections and says nothing is waited for ends the recipe at once."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = f"[remote]\nmethod = ssh\nport = {silent.getsockname()[1]}\n"
        recipe = Recipe(tmp_path / "recipe", config)
        process = recipe.start([{"kind": "command", "host": "localhost", "command": ["true"]}])
        silent.settimeout(WAIT_S)
        connection, _ = silent.accept()
        with connection:
            started_s = time.monotonic()
            os.killpg(process.pid, signal.SIGINT)
            done = recipe.finish(process)

    check_interrupted(done, 130)
    assert time.monotonic() - started_s < 3.0
