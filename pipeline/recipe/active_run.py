"""A run as the recipes of one process share it: configuration, job directory, store, and the dispatcher once needed."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.recipe.config import Config
from pipeline.run.dispatcher import Dispatcher
from pipeline.run.events import Event
from pipeline.run.reach import Reach
from pipeline.run.store import RunStore
from pipeline.run.textfiles import check_writable

__all__ = ["ActiveRun", "check_job_name", "check_start_time", "format_start_time"]

if TYPE_CHECKING:
    from pipeline.run.log_gate import LogGate

log = logging.getLogger(__name__)

_MAX_JOB_NAME = 200
_START_TIME = "%Y-%m-%dT%H:%M:%S"
_GRACE_S = 5.0
_HURRY_S = 1.0


class ActiveRun:
    """
    One start of a top-level recipe.

    Attributes:
        start_time: Names what this start leaves beside that of others.
        job_directory: Everything the run leaves is below it.
        steps: Numbers the run's `_schedule_jobs` from 1.
        log_environment: What jobs are told of the log server's TCP gate.
    """

    def __init__(self, config: Config, start_time: str, *, is_dry: bool, watch: Callable[[Event], None]) -> None:
        """Touch nothing yet; `watch` is told what happens to jobs and hosts."""
        self.config = config
        self.start_time = start_time
        self.is_dry = is_dry
        self.steps = count(1)
        self.log_environment: dict[str, str] = {}
        self.job_directory = Path(config.layout.job_directory)
        self.log_directory = self.job_directory / "logs" / start_time
        self._watch = watch
        self._store: RunStore | None = None
        self._dispatcher: Dispatcher | None = None
        self._log_gate: LogGate | None = None
        self._lock = threading.Lock()

    def open(self, recipe: str, job_name: str, start_time: str, command_line: Sequence[str]) -> Path:
        """
        Make the job directory, take its lock and begin the run in the store; returns the log file's path.

        Raises:
            ConfigError: If a directory cannot be made.
            UsageError: If another master works in this job directory.
            StoreError: If the run store cannot be written.
        """
        log_file = Path(self.config.logging.log_file)
        for directory in (self.log_directory, log_file.parent):
            _make_directory(directory)
        self._store = RunStore.open(self.job_directory / "run.sqlite")
        self._store.begin_run(recipe, job_name, start_time, command_line, self.log_directory)
        return log_file

    def path_for(self, *parts: str) -> str:
        """
        Return the path of a file below the job directory; its folder is made, for its owner only.

        Raises:
            ConfigError: If the folder cannot be made.
        """
        path = self.job_directory.joinpath(*parts)
        _make_directory(path.parent)
        return str(path)

    def output_path(self, given: str | None, *parts: str) -> str:
        """
        Return the path of a file to be written in the end: `given`, or else the one below the job directory.

        Raises:
            UsageError: If `given` is surely not to be written. To be asked before hours of work.
        """
        if given:
            check_writable(given)
            return given
        return str(self.job_directory.joinpath(*parts)) if self.is_dry else self.path_for(*parts)

    @cached_property
    def reach(self) -> Reach:
        """How hosts are reached, as configured."""
        return self.config.reach()

    @property
    def dispatcher(self) -> Dispatcher:
        """The run's dispatcher, started when first asked for."""
        with self._lock:  # threads of a recipe may ask at the same time, and there must be one
            if self._dispatcher is None:
                self._dispatcher = self._start_dispatcher()
            return self._dispatcher

    def _start_dispatcher(self) -> Dispatcher:
        assert self._store, "a dry run starts no jobs"
        captured = self.config.logging
        levels = {"out": captured.job_stdout_level, "err": captured.job_stderr_level}
        if self.config.remote.log_server == "tcp" and not self._log_gate:
            self._open_log_gate()
        return Dispatcher(
            self.reach, self._store, log_directory=self.log_directory, log_levels=levels, watch=self._watch
        )

    def _open_log_gate(self) -> None:
        """Let scripts that no agent started log, too."""
        from pipeline.run.log_gate import LogGate

        gate = self._log_gate = LogGate(self.log_directory)
        self.log_environment = gate.environment
        log.info("log server: %s; keys: %s", "{}:{}".format(*gate.address), gate.key_path)

    @property
    def has_lost(self) -> bool:
        """Some job was lost or could not reach a host."""
        return self._dispatcher is not None and self._dispatcher.has_lost

    def stop(self) -> list[str]:
        """End all jobs and agents; returns a line for each host where processes may be left."""
        if self._dispatcher:
            self._dispatcher.stop(_GRACE_S)
        if self._log_gate:
            self._log_gate.close()
        return self._dispatcher.left_behind if self._dispatcher else []

    def end_jobs(self, *, is_urgent: bool) -> None:
        """Begin to end all jobs and agents; callable from a signal handler. `stop` waits for it."""
        if self._dispatcher:
            self._dispatcher.begin_stop(_HURRY_S if is_urgent else _GRACE_S)

    def close(self, exit_code: int) -> None:
        """Write the run's end and let go of the job directory."""
        if self._store:
            self._store.end_run(exit_code)
            self._store.close()


def check_job_name(name: str) -> str:
    """
    Return a name that can be a directory's.

    Raises:
        ConfigError: If it is empty, too long, or leads out of the runtime directory.
    """
    is_plain = name.isprintable() and "/" not in name and name not in (".", "..") and not name.startswith("-")
    if not (name and is_plain and len(os.fsencode(name)) <= _MAX_JOB_NAME):
        raise ConfigError(f"job name {name[:40]!r}: expected 1 to {_MAX_JOB_NAME} printable characters, no '/' in it")
    return name


def check_start_time(text: str) -> str:
    """
    Return a start time that can be a directory's name.

    Raises:
        ConfigError: If it is not of the form 2026-11-20T14:14:18.
    """
    try:
        return datetime.strptime(text, _START_TIME).strftime(_START_TIME)
    except ValueError:
        raise ConfigError(
            f"--start-time {text[:40]!r}: expected YYYY-MM-DDThh:mm:ss, e.g. 2026-11-20T14:14:18"
        ) from None


def format_start_time(moment: datetime) -> str:
    """Return a time as the original wrote it in paths: 2026-11-20T14:14:18."""
    return moment.strftime(_START_TIME)


def _make_directory(path: Path) -> None:
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        for folder in reversed(missing):  # one by one: `parents=True` would make those above readable for all
            folder.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(exist_ok=True)  # says so if it is something else than a directory
    except OSError as error:
        raise ConfigError(f"{path}: cannot make this directory: {error.strerror}; choose another -r") from None
