"""One run of one peer: its time, and whether it did its work."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from peers.commands import Command
from peers.works import BEGAN, Work

from pipeline.testing.processes import find_processes, kill_processes

_TOLD = re.compile(r"^(work_s|cpu_s|first_jobs_s) = (\S+)$", re.MULTILINE)  # by our recipe
_MARK = "PEER_RUN"  # in the environment of all that a run starts
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Sample:
    """
    What one run took.

    Attributes:
        jobs: How many there were.
        start_s: Before the first job could be taken, and for us also after the last.
        work_s: All jobs; for us with the connection and the start of the agents.
        cpu_s: CPU of our master meanwhile, without agents and `ssh` clients; 0 where nobody tells.
        first_jobs_s: From the start until every host had begun a job; 0 where nobody tells.
        refused: Connections turned away by an sshd.
        problem: Why the figures say nothing; empty if they do.
    """

    jobs: int
    start_s: float = 0.0
    work_s: float = 0.0
    cpu_s: float = 0.0
    first_jobs_s: float = 0.0
    refused: int = 0
    problem: str = ""

    def all_s(self, jobs: int) -> float:
        """Return the time for so many jobs, start included, if each takes as long as here."""
        return self.start_s + self.work_s * jobs / self.jobs


def run_peer(command: Command, work: Work, timeout_s: float) -> Sample:
    """Run a peer on a work whose files are there."""
    began_s = time.monotonic()
    ended_s, problem = run_to_end(command, work, {BEGAN: str(began_s)}, timeout_s)
    problem = problem or work.problem(list(work.folder.glob(command.lines)))
    sample = read_times((work.folder / "stdout").read_text(errors="replace"), work.count, ended_s - began_s)
    return replace(sample, problem=problem)


def run_to_end(command: Command, work: Work, told: Mapping[str, str], timeout_s: float) -> tuple[float, str]:
    """Run a program, its output in files; returns when it ended and what went wrong. Nothing of it stays behind."""
    # PYTHONUNBUFFERED, PYTHONDONTWRITEBYTECODE and the like are of this shell, not of what is compared.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    scratch = work.folder / "tmp"  # not everybody clears up behind himself
    scratch.mkdir()
    environment = {**clean, **command.environment, **told, "TMPDIR": str(scratch), _MARK: str(work.folder)}
    errors = work.folder / "stderr"
    with open(work.folder / "stdout", "w") as stdout, errors.open("w") as stderr:
        process = subprocess.Popen(
            command.words,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            cwd=work.folder,
            text=True,
            start_new_session=True,
        )
        try:
            process.communicate(command.stdin, timeout_s)
            ended_s = time.monotonic()
        except subprocess.TimeoutExpired:
            return time.monotonic(), f"no end after {timeout_s:g} s"
        finally:
            end_all(process, f"{_MARK}={work.folder}")
    lines = [line for line in errors.read_text(errors="replace").splitlines() if line.strip()]
    said = lines[-1] if lines else "nothing said"
    return ended_s, f"exit status {process.returncode}: {said}" if process.returncode else ""


def end_all(process: subprocess.Popen[str], mark: str) -> None:
    """End a program, if it has not ended, and all it started, also what has left it and carries its mark."""
    if process.poll() is None:
        process.send_signal(signal.SIGSTOP)  # starts nothing more while its children are being ended
    kill_processes(lambda: find_processes(below=process.pid, mark=mark), STOP_TIMEOUT_S)
    process.kill()
    process.wait(STOP_TIMEOUT_S)


def read_times(stdout: str, jobs: int, whole_s: float) -> Sample:
    """Read what a peer told of its times; one that tells nothing has no start."""
    told = {name: float(value) for name, value in _TOLD.findall(stdout)}
    if told:  # ours: what is not work is start and end
        first_jobs_s = told["first_jobs_s"] if 0.0 < told["first_jobs_s"] < whole_s else 0.0
        return Sample(jobs, whole_s - told["work_s"], told["work_s"], told["cpu_s"], first_jobs_s)
    last = stdout.rstrip().rpartition("\n")[2]
    return Sample(jobs, **json.loads(last)) if last.startswith('{"start_s"') else Sample(jobs, 0.0, whole_s)
