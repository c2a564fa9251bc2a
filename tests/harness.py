"""Real dispatchers and real recipe processes for tests of what happens between a master and its hosts."""

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from pipeline.model.jobs import ComputeJob
from pipeline.model.parameters import Parameters
from pipeline.run.batch import Batch
from pipeline.run.dispatcher import Dispatcher
from pipeline.run.notices import JobDefaults
from pipeline.run.reach import Reach
from pipeline.run.store import RunStore
from pipeline.run.store_reader import RunReader
from pipeline.testing import SshHosts

__all__ = [
    "CLIENTS",
    "WAIT_S",
    "Dispatch",
    "Done",
    "Recipe",
    "eventually",
    "is_running",
    "read_pids",
    "ssh_reach",
    "with_warm",
]

WAIT_S = 40.0
CLIENTS = ("paramiko", "openssh")
LEVELS = {"out": logging.DEBUG, "err": logging.INFO}
WARM = os.environ.get("PIPELINE_TEST_WARM", "auto")  # see `make warmth`; a value of `[remote] warm`
RUN_JOBS = Path(__file__).parent / "recipes" / "master" / "run_jobs.py"


def with_warm(config: str) -> str:
    """Return a configuration for a test in which node scripts are forked, or not, as the tests are to be run."""
    return re.sub(r"(?m)^\[remote\]\n(?:[^\[\n].*\n)*", rf"\g<0>warm = {WARM}\n", config)


def eventually(is_so: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    """Return once `is_so()` is true; fail if it is not in time."""
    deadline_s = time.monotonic() + timeout_s
    pause = threading.Event()
    while not is_so():
        assert time.monotonic() < deadline_s, f"not so after {timeout_s} s: {is_so}"
        pause.wait(0.01)


def is_running(pid: int) -> bool:
    """Tell whether a process lives; one that has ended and is not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def read_pids(path: Path) -> list[int]:
    """Return the pids that jobs have written to a file, a line each; none while it is not there."""
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def ssh_reach(hosts: SshHosts, client: str, **parameters: Any) -> Reach:
    """Return a reach of throw-away hosts over one of the SSH clients."""
    return Reach(method="ssh", ssh_client=client, login=hosts.login(), parameters=Parameters(**parameters))


class Dispatch:
    """
    A dispatcher with its store and its log files in a directory of its own; a context manager.

    Attributes:
        dispatcher: The real one.
        logs: Directory of its log files.
    """

    def __init__(self, directory: Path, reach: Reach, levels: Mapping[str, int] = LEVELS, **more: Any) -> None:
        """Start it; `more` goes to `Dispatcher`."""
        self.logs = directory / 'it\'s a "log" directory'
        self.logs.mkdir()
        self._path = directory / "run.sqlite"
        self.store = RunStore.open(self._path)
        self.store.begin_run("test", "test", "2026-11-20T14:14:18", ["test"], self.logs)
        if reach.warm == "auto":  # the test does not ask for something else
            reach = replace(reach, warm=WARM)
        self.dispatcher = Dispatcher(reach, self.store, log_directory=self.logs, log_levels=dict(levels), **more)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self.dispatcher.stop(1.0)
        self.store.end_run(0)
        self.store.close()

    def submit(self, jobs: Sequence[ComputeJob], max_per_node: int | None = 4, **defaults: Any) -> Batch:
        """Submit jobs and do not wait."""
        logger = logging.getLogger("test_recipe")
        return self.dispatcher.submit(jobs, max_per_node, logger, 1, JobDefaults(**defaults))

    def run(self, jobs: Sequence[ComputeJob], max_per_node: int | None = 4, **defaults: Any) -> list[dict[str, Any]]:
        """Run jobs and return their results; all that they wrote is in the log."""
        batch = self.submit(jobs, max_per_node, **defaults)
        batch.wait(WAIT_S)
        return [job.results for job in jobs]

    def packed_log(self, host: str) -> bytes:
        """Return the packed log of a host; complete after the `with` block."""
        return (self.logs / f"{host}.log").read_bytes()

    def read_store(self) -> RunReader:
        """Return a reader of its store; to be closed."""
        return RunReader.open(self._path)


@dataclass(frozen=True)
class Done:
    """
    How a recipe process ended.

    Attributes:
        results: Of its jobs, in order; empty if it did not come so far.
        peak_bytes: Largest resident size of the master.
    """

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    results: list[dict[str, Any]]
    peak_bytes: int

    @property
    def job_lines(self) -> list[str]:
        """The lines about jobs on standard error."""
        return [line for line in self.stderr.splitlines() if ": job " in line]


@dataclass
class Recipe:
    """
    The recipe `run_jobs` as a process of its own: it runs the jobs of a JSON file.

    Attributes:
        directory: Its working directory.
        config: Text of its pipeline.cfg.
    """

    directory: Path
    config: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(
        self, jobs: Sequence[Mapping[str, Any]], *options: str, max_file_bytes: int | None = None
    ) -> subprocess.Popen[str]:
        """
        Start it in a process group of its own.

        Args:
            jobs: Each has `kind` (script or command) and the fields of ComputeJob.
            max_file_bytes: No file it writes can become larger.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "pipeline.cfg").write_text(with_warm(self.config))
        (self.directory / "jobs.json").write_text(json.dumps(list(jobs)))
        root = str(Path(__file__).parents[1])
        limit = [] if max_file_bytes is None else ["prlimit", f"--fsize={max_file_bytes}"]
        return subprocess.Popen(
            [*limit, sys.executable, str(RUN_JOBS), *options, "jobs.json", "results.json"],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": root, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str], timeout_s: float = WAIT_S) -> Done:
        """Wait for its end."""
        started_s = time.monotonic()
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        finally:
            process.kill()
            process.wait()
        path = self.directory / "results.json"
        told = json.loads(path.read_text()) if path.exists() else {"results": [], "peak_bytes": 0}
        return Done(process.returncode, stdout, stderr, time.monotonic() - started_s, **told)

    def run(self, jobs: Sequence[Mapping[str, Any]], *options: str, timeout_s: float = WAIT_S) -> Done:
        """Run it to its end."""
        return self.finish(self.start(jobs, *options), timeout_s)

    def read_store(self) -> RunReader:
        """Return a reader of its store; to be closed."""
        return RunReader.open(self.directory / "runs" / "run_jobs" / "run.sqlite")

    @property
    def log_text(self) -> str:
        """What its log file holds."""
        return next((self.directory / "runs" / "run_jobs" / "logs").glob("*/pipeline.log")).read_text()
