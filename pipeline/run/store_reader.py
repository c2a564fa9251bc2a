"""Reading a run store, also while its master writes it; nothing here can change it or hold it up."""

import enum
import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pipeline.model.jobs import JobState
from pipeline.run.database import connect_reader, store_errors
from pipeline.run.lock import is_locked

__all__ = ["AttemptRow", "HostRow", "JobRow", "RunReader", "RunRow", "RunState", "RunSummary"]


class RunState(enum.Enum):
    """How a run stands as a whole."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"  # its master is gone and has not said how the run ended
    OK = "ok"
    FAILED = "failed"  # ended with a non-zero exit code


@dataclass(frozen=True, slots=True)
class RunRow:
    """One start of a master; times are unix seconds, `ended_at` and `exit_code` None until it ends in good order."""

    run_id: int
    state: RunState
    recipe: str
    job_name: str
    start_time: str
    command_line: tuple[str, ...]
    log_directory: str
    master_host: str
    master_pid: int
    began_at: float
    ended_at: float | None
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class HostRow:
    """A host; `running` counts jobs sent to it and not ended, `done` and `failed` jobs that became final there."""

    host: str
    state: str
    verdict: str
    cores: int | None
    python: str
    method: str
    running: int
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class JobRow:
    """
    A job; what concerns an attempt is of its latest one.

    Attributes:
        host: Where it was sent last; empty if it never was.
        attempts: How often it was sent.
        command, arguments: JSON text, cut at 4 KiB.
        started_at, finished_at: Unix seconds; None if it has not.
        duration_s, returncode: None while it has not ended on a host.
    """

    job_id: int
    step: int
    name: str
    state: JobState
    host: str
    attempts: int
    message: str
    command: str
    arguments: str
    submitted_at: float
    started_at: float | None
    finished_at: float | None
    duration_s: float | None
    returncode: int | None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One execution of a job; times are unix seconds, None if it has not come so far; `outputs` is JSON text."""

    job_id: int
    attempt: int
    host: str
    state: JobState
    dispatched_at: float
    started_at: float | None
    ended_at: float | None
    pid: int | None
    returncode: int | None
    duration_s: float | None
    max_rss_bytes: int | None
    user_s: float | None
    system_s: float | None
    message: str
    outputs: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """
    A run at one moment.

    Attributes:
        counts: Jobs in each state, all states.
        hosts: By name; those the run has spoken to and those that jobs were sent to.
        last_change_at: Unix seconds of the latest thing known to have happened.
    """

    run: RunRow
    counts: Mapping[JobState, int]
    hosts: tuple[HostRow, ...]
    last_change_at: float


class RunReader:
    """
    The runs of one job directory. Use as a context manager, or call `close`.

    Every method raises StoreError if the store cannot be read.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """For `open`."""
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """
        Open `run.sqlite` for reading.

        Raises:
            StoreError: If it cannot be read, is no run store, or is one of a newer version.
        """
        connection = connect_reader(path)
        connection.row_factory = sqlite3.Row
        return cls(path, connection)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._connection.close()

    def runs(self) -> list[RunRow]:
        """Return all runs, the oldest first; only the last can be running."""
        with self._snapshot():
            return self._runs()

    def summary(self, run_id: int | None = None) -> RunSummary | None:
        """Return a run, by default the latest, with its counts; None if there is no such run."""
        with self._snapshot():
            runs = [run for run in self._runs() if run_id in (None, run.run_id)]
            if not runs:
                return None
            run = runs[-1]
            by_host = self._counts(run.run_id)
            counts = {state: sum(states.get(state, 0) for states in by_host.values()) for state in JobState}
            return RunSummary(run, counts, self._hosts(run.run_id, by_host), self._last_change(run))

    def jobs(self, run_id: int, states: Collection[JobState] | None = None) -> list[JobRow]:
        """Return the jobs of a run by job_id, only those in `states` if given."""
        query = """
            SELECT j.job_id, step, name, j.state, j.host, attempts, j.message, command, arguments, submitted_at,
                started_at, finished_at, duration_s, returncode
            FROM jobs AS j LEFT JOIN attempts AS a
                ON a.run_id = j.run_id AND a.job_id = j.job_id AND a.attempt = j.attempts
            WHERE j.run_id = ? ORDER BY j.job_id"""
        with self._snapshot():
            rows = [JobRow(**_with_state(row)) for row in self._connection.execute(query, (run_id,))]
        return [row for row in rows if states is None or row.state in states]

    def attempts(self, run_id: int, job_id: int | None = None) -> list[AttemptRow]:
        """Return the attempts of a run, or of one of its jobs, by job_id and attempt."""
        query = """
            SELECT job_id, attempt, host, state, dispatched_at, started_at, ended_at, pid, returncode, duration_s,
                max_rss_bytes, user_s, system_s, message, outputs
            FROM attempts WHERE run_id = :run_id AND :job_id IN (job_id, -1) ORDER BY job_id, attempt"""
        with self._snapshot():
            asked = {"run_id": run_id, "job_id": -1 if job_id is None else job_id}
            return [AttemptRow(**_with_state(row)) for row in self._connection.execute(query, asked)]

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """All queries inside see one moment, and end before the writer's log grows because of them."""
        with store_errors(self._path, "read"):
            self._connection.execute("BEGIN")
            try:
                yield
            except ValueError as error:
                raise sqlite3.DataError(str(error)) from error  # a state or a list that is none: damaged
            finally:
                self._connection.execute("ROLLBACK")

    def _runs(self) -> list[RunRow]:
        # The lock first: a run that ends in between is then at worst shown as still running.
        is_held = is_locked(self._path.with_name(self._path.name + ".lock"))
        rows = self._connection.execute("SELECT * FROM runs ORDER BY run_id").fetchall()
        return [_run_row(dict(row), is_held and row is rows[-1]) for row in rows]

    def _counts(self, run_id: int) -> dict[str, dict[JobState, int]]:
        """{host: {state: jobs}}; the host of jobs that were never sent is the empty string."""
        query = "SELECT host, state, count(*) FROM jobs WHERE run_id = ? GROUP BY host, state"
        counts: dict[str, dict[JobState, int]] = {}
        for host, state, number in self._connection.execute(query, (run_id,)):
            counts.setdefault(host, {})[JobState(state)] = number
        return counts

    def _hosts(self, run_id: int, by_host: Mapping[str, Mapping[JobState, int]]) -> tuple[HostRow, ...]:
        query = "SELECT host, state, verdict, cores, python, method FROM hosts WHERE run_id = ?"
        known = {row["host"]: dict(row) for row in self._connection.execute(query, (run_id,))}
        unknown: dict[str, Any] = {"state": "", "verdict": "", "cores": None, "python": "", "method": ""}
        names = sorted(known.keys() | by_host.keys() - {""})
        return tuple(
            HostRow(**(known.get(name) or unknown | {"host": name}), **_sums(by_host.get(name, {}))) for name in names
        )

    def _last_change(self, run: RunRow) -> float:
        query = """
            SELECT max(ended_at), max(started_at), max(dispatched_at), NULL FROM attempts WHERE run_id = :run_id
            UNION ALL SELECT max(submitted_at), max(finished_at), NULL, NULL FROM jobs WHERE run_id = :run_id
            UNION ALL SELECT max(changed_at), NULL, NULL, NULL FROM hosts WHERE run_id = :run_id"""
        asked = {"run_id": run.run_id}
        times: list[float] = [
            time for row in self._connection.execute(query, asked) for time in row if time is not None
        ]
        return max([*times, run.began_at, run.ended_at or run.began_at])


def _run_row(row: dict[str, Any], is_held: bool) -> RunRow:
    row["command_line"] = tuple(json.loads(row["command_line"]))
    if row["exit_code"] is not None:
        row["state"] = RunState.FAILED if row["exit_code"] else RunState.OK
    else:
        row["state"] = RunState.RUNNING if is_held else RunState.INTERRUPTED
    return RunRow(**row)


def _with_state(row: sqlite3.Row) -> dict[str, Any]:
    return dict(row) | {"state": JobState(row["state"])}


def _sums(counts: Mapping[JobState, int]) -> dict[str, Any]:
    """Of the jobs of one host; one that waits for another attempt counts nowhere."""
    running = counts.get(JobState.DISPATCHED, 0) + counts.get(JobState.RUNNING, 0)
    failed = sum(n for state, n in counts.items() if state.is_final and state is not JobState.OK)
    return {"running": running, "done": counts.get(JobState.OK, 0), "failed": failed}
