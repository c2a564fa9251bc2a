"""Ctrl-C, TERM and KILL: nothing that a recipe started goes on without it."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import with_warm

from pipeline.run.store_reader import RunReader, RunState

PROJECT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 60


class Sleeper:
    """
    A recipe whose two jobs sleep, each with a child in another session.

    Attributes:
        pidfds: One for each of the four processes; readable when it has ended.
    """

    def __init__(self, directory: Path, *words: str) -> None:
        fifo = directory / "pids"
        os.mkfifo(fifo)
        self.store = directory / "runs/sleeper/run.sqlite"
        (directory / ".pipeline.cfg").write_text(with_warm("[remote]\n"))
        command = [sys.executable, str(PROJECT / "tests/recipes/master/sleeper.py"), str(fifo), *words]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT), "HOME": str(directory)}
        self.master = subprocess.Popen(
            command, cwd=directory, env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.pidfds = [os.pidfd_open(pid) for pid in _read_pids(fifo)]

    def end(self) -> tuple[int, str, float]:
        """Wait for the master; return its status, what it said and how many seconds it took."""
        began_s = time.monotonic()
        _, said = self.master.communicate(timeout=TIMEOUT_S)
        return self.master.returncode, said, time.monotonic() - began_s

    def alive(self, wait_s: float = 0.0) -> int:
        """Return how many of the processes live, at most `wait_s` after now."""
        return sum(not select.select([pidfd], [], [], wait_s)[0] for pidfd in self.pidfds)

    def close(self) -> None:
        """End what may be left."""
        for pidfd in self.pidfds:
            if not select.select([pidfd], [], [], 0)[0]:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
        self.master.kill()
        self.master.communicate(timeout=TIMEOUT_S)


def _read_pids(fifo: Path) -> list[int]:
    descriptor = os.open(fifo, os.O_RDWR)  # so that it never is at its end
    try:
        text = b""
        while text.count(b"\n") < 2:
            assert select.select([descriptor], [], [], TIMEOUT_S)[0], "the jobs do not start"
            text += os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    return [int(pid) for pid in text.split()]


@pytest.fixture
def start(tmp_path) -> Iterator[object]:
    """Start a sleeper; it is gone after the test."""
    started: list[Sleeper] = []

    def start_sleeper(*words: str) -> Sleeper:
        started.append(Sleeper(tmp_path, *words))
        return started[0]

    # Under nohup the tests would start a master that is to survive a hangup.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield start_sleeper
    signal.signal(signal.SIGHUP, before)
    for sleeper in started:
        sleeper.close()


def _state(sleeper: Sleeper) -> RunState:
    with RunReader.open(sleeper.store) as reader:
        return reader.runs()[-1].state


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_ends_all_jobs(start, number, status):
    """One signal ends the jobs and their children; the status tells the signal."""
    sleeper = start()

    sleeper.master.send_signal(number)
    returncode, said, took_s = sleeper.end()

    assert returncode == status, said
    assert sleeper.alive() == 0
    assert "Traceback" not in said
    assert took_s < 10


def test_interrupted_run_has_ended(start):
    """The store knows how a run ended that was interrupted in good order."""
    sleeper = start()

    sleeper.master.send_signal(signal.SIGINT)
    sleeper.end()

    assert _state(sleeper) is RunState.FAILED


def test_stubborn_jobs_are_killed(start):
    """Jobs that ignore TERM are gone after the grace."""
    sleeper = start("--stubborn", "yes")

    sleeper.master.send_signal(signal.SIGINT)
    returncode, said, took_s = sleeper.end()

    assert (returncode, sleeper.alive()) == (130, 0), said
    assert 4 < took_s < 10


def test_second_signal_does_not_wait_for_stubborn_jobs(start):
    """Ctrl-C twice: KILL follows at once, and nothing is left."""
    sleeper = start("--stubborn", "yes")

    sleeper.master.send_signal(signal.SIGINT)
    assert "ending all jobs" in sleeper.master.stderr.readline()
    sleeper.master.send_signal(signal.SIGINT)
    returncode, said, took_s = sleeper.end()

    assert (returncode, sleeper.alive()) == (130, 0), said
    assert took_s < 4


def test_killed_master_takes_its_jobs_along(start):
    """The agent notices that its master is gone; the run then counts as interrupted."""
    sleeper = start()

    sleeper.master.kill()
    sleeper.end()

    assert sleeper.alive(wait_s=40) == 0
    assert _state(sleeper) is RunState.INTERRUPTED
