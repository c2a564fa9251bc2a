"""The run store: what has become of every job, written so that a killed master loses nothing it acted upon."""

import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from pipeline.model.jobs import ComputeJob, JobState, Outcome
from pipeline.run.database import connect_writer, store_errors
from pipeline.run.lock import RunLock
from pipeline.run.mounts import is_on_network

__all__ = ["RunStore"]

_SHOWN_BYTES = 4096  # of a job's command and of its arguments: they are for people, not for running again
_INT_MAX = 2**63 - 1

_BEGIN_RUN = """
INSERT INTO runs (recipe, job_name, start_time, command_line, log_directory, master_host, master_pid, began_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""

# What each kind of change does. A commit goes through the kinds in this order and through each statement with all
# rows of the kind at once: faster than row by row, and the same, since what concerns an attempt names it, an attempt
# starts before it ends, and no job is dispatched after it finished. A result counts only if its statement found a row
# not yet final (G4). What the same commit would overwrite is left out: a start is told by the end, and only a job
# that does not finish is said to wait.
_STATEMENTS: Mapping[str, tuple[str, ...]] = {
    "host": (
        """INSERT INTO hosts (run_id, host, state, verdict, cores, python, method, changed_at)
        VALUES (:run_id, :host, :state, :verdict, :cores, :python, :method, :at)
        ON CONFLICT (run_id, host) DO UPDATE SET
            state = excluded.state, verdict = excluded.verdict, changed_at = excluded.changed_at,
            cores = coalesce(excluded.cores, cores),
            python = CASE excluded.python WHEN '' THEN python ELSE excluded.python END,
            method = CASE excluded.method WHEN '' THEN method ELSE excluded.method END""",
    ),
    "submitted": (
        """INSERT INTO jobs (run_id, job_id, step, state, submitted_at, name, hosts, command, arguments)
        VALUES (:run_id, :job_id, :step, 'PENDING', :at, :name, :hosts, :command, :arguments)""",
    ),
    "dispatched": (
        """INSERT INTO attempts (run_id, job_id, attempt, host, state, dispatched_at)
        VALUES (:run_id, :job_id, :attempt, :host, 'DISPATCHED', :at)""",
        """UPDATE jobs SET state = 'DISPATCHED', host = :host, attempts = :attempt
        WHERE run_id = :run_id AND job_id = :job_id AND state IN ('PENDING', 'DISPATCHED', 'RUNNING')""",
    ),
    "started": (
        """UPDATE attempts SET state = 'RUNNING', started_at = :at, pid = :pid
        WHERE run_id = :run_id AND job_id = :job_id AND attempt = :attempt AND state = 'DISPATCHED'""",
        """UPDATE jobs SET state = 'RUNNING'
        WHERE run_id = :run_id AND job_id = :job_id AND attempts = :attempt AND state = 'DISPATCHED'""",
    ),
    "ended": (
        """UPDATE attempts SET state = :state, ended_at = :at, returncode = :returncode, duration_s = :duration_s,
            max_rss_bytes = :max_rss_bytes, user_s = :user_s, system_s = :system_s, message = :message,
            outputs = :outputs, started_at = coalesce(started_at, :started_at), pid = coalesce(pid, :pid)
        WHERE run_id = :run_id AND job_id = :job_id AND attempt = :attempt AND state IN ('DISPATCHED', 'RUNNING')""",
    ),
    "waits": (
        # The end of an attempt is not that of the job: it may have another one. Until `finished` says so it waits.
        """UPDATE jobs SET state = 'PENDING'
        WHERE run_id = :run_id AND job_id = :job_id AND attempts = :attempt AND state IN ('DISPATCHED', 'RUNNING')""",
    ),
    "finished": (
        """UPDATE jobs SET state = :state, message = :message, finished_at = :at
        WHERE run_id = :run_id AND job_id = :job_id AND state IN ('PENDING', 'DISPATCHED', 'RUNNING')""",
    ),
    "run_ended": ("UPDATE runs SET ended_at = :at, exit_code = :exit_code WHERE run_id = :run_id",),
}
_RESULTS = ("ended", "finished")
_NO_START = {"at": None, "pid": None}  # of an attempt whose start was committed before, or never told

_Row = dict[str, Any]

_dumps = json.JSONEncoder(separators=(",", ":"), default=str).encode


class RunStore:
    """
    `run.sqlite` of a job directory, held by one master at a time.

    Changes are buffered in memory; `commit` makes all of them durable in one transaction. Whoever sends
    a job commits `dispatched` first; whoever acknowledges a result commits `ended` first. One thread makes all
    calls, but `open` and `close` may be another's.

    A process forked without exec keeps the lock on the job directory: nothing here is to be used after a fork.

    Attributes:
        run_id: Of the run begun last in this job directory, from 1; 0 before `begin_run`.
        stale_results: Committed results that changed nothing because their attempt or job was final, or unknown.
    """

    def __init__(self, path: Path, lock: RunLock, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        """For `open`."""
        self.run_id = 0
        self.stale_results = 0
        self._path = path
        self._lock = lock
        self._connection = connection
        self._clock = clock
        self._changes: dict[str, list[_Row]] = {kind: [] for kind in _STATEMENTS}
        self._started: dict[tuple[int, int], _Row] = {}  # by job and attempt: those that have not ended yet

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time, on_network: bool | None = None) -> Self:
        """
        Open or create the store and lock its job directory (`<path>.lock`).

        Args:
            path: `run.sqlite` in an existing job directory.
            clock: Unix seconds.
            on_network: Whether it is on a network file system, where nobody can read along; None finds out.

        Raises:
            UsageError: If another master holds the job directory.
            StoreError: If the store cannot be written, is no run store or one of a newer version.
        """
        with store_errors(path, "written"):
            lock = RunLock(path.with_name(path.name + ".lock"), clock())
        try:
            is_exclusive = is_on_network(path.parent) if on_network is None else on_network
            connection = connect_writer(path, is_exclusive=is_exclusive)
        except BaseException:
            lock.release()
            raise
        return cls(path, lock, connection, clock)

    def begin_run(
        self, recipe: str, job_name: str, start_time: str, command_line: Sequence[str], log_directory: str | Path
    ) -> int:
        """
        Add a run and commit it at once; what follows belongs to it.

        Returns:
            Its `run_id`, larger than all before: the epoch of this master.

        Raises:
            StoreError: If it cannot be written.
        """
        master = (socket.gethostname(), os.getpid(), self._clock())
        row = (_text(recipe), _text(job_name), _text(start_time), _dumps(list(command_line)), _text(str(log_directory)))
        with store_errors(self._path, "written"):
            cursor = self._connection.execute(_BEGIN_RUN, row + master)
        self.run_id = cursor.lastrowid or 0
        return self.run_id

    @property
    def has_changes(self) -> bool:
        """Some changes are not committed yet."""
        return bool(self._started) or any(self._changes.values())

    def host_changed(
        self, host: str, state: str, *, verdict: str = "", cores: int | None = None, python: str = "", method: str = ""
    ) -> None:
        """Buffer a host's state and why; facts left out keep what was known of it."""
        row = {"host": host, "state": _text(state), "verdict": _text(verdict), "cores": _integer(cores)}
        self._add("host", row | {"python": _text(python), "method": _text(method)})

    def jobs_submitted(self, rows: Iterable[tuple[int, ComputeJob, int]]) -> None:
        """Buffer new jobs, each (job_id, job, step); their environment is not kept, it may hold secrets."""
        for job_id, job, step in rows:
            row = {"job_id": job_id, "step": step, "name": _text(job.name), "hosts": _words(job.hosts)}
            command, arguments = _words(tuple(job.command)), _dumps(job.arguments)
            row |= {"command": command[:_SHOWN_BYTES], "arguments": arguments[:_SHOWN_BYTES]}
            self._add("submitted", row)

    def dispatched(self, job_id: int, attempt: int, host: str) -> None:
        """Buffer that an attempt (from 1) is about to be sent to `host`; commit before it is (G1)."""
        self._add("dispatched", {"job_id": job_id, "attempt": attempt, "host": host})

    def started(self, job_id: int, attempt: int, pid: int) -> None:
        """Buffer that an attempt runs on its host, under `pid` there."""
        row = self._row({"job_id": job_id, "attempt": attempt, "pid": _integer(pid)})
        self._started.setdefault((job_id, attempt), row)

    def ended(self, job_id: int, attempt: int, outcome: Outcome) -> None:
        """Buffer how an attempt ended; commit before it is acknowledged (G5). A final attempt does not change."""
        start = self._started.pop((job_id, attempt), _NO_START)
        row = {
            "job_id": job_id,
            "attempt": attempt,
            "started_at": start["at"],
            "pid": start["pid"],
            "state": outcome.state.value,
            "message": _text(outcome.message),
            "returncode": _integer(outcome.returncode),
            "max_rss_bytes": _integer(outcome.max_rss_bytes),
            "duration_s": outcome.duration_s,
            "user_s": outcome.user_s,
            "system_s": outcome.system_s,
            "outputs": _dumps(dict(outcome.outputs)) if outcome.outputs else "{}",
        }
        self._add("ended", row)

    def finished(self, job_id: int, state: JobState, message: str = "") -> None:
        """Buffer the final state of a job, with or without attempts; a final job does not change."""
        self._add("finished", {"job_id": job_id, "state": state.value, "message": _text(message)})

    def commit(self) -> None:
        """
        Make all buffered changes durable in one transaction; does nothing if there are none.

        Raises:
            StoreError: If it cannot be written. The changes stay buffered: another `commit` tries again.
        """
        if not self.has_changes:
            return
        final = {row["job_id"] for row in self._changes["finished"]}
        self._changes["started"] = list(self._started.values())
        self._changes["waits"] = [row for row in self._changes["ended"] if row["job_id"] not in final]
        with store_errors(self._path, "written"):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                stale = sum(self._write(kind, rows) for kind, rows in self._changes.items() if rows)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite rolls back by itself when the disk is full
                    self._connection.execute("ROLLBACK")
                raise
        for rows in self._changes.values():
            rows.clear()
        self._started.clear()
        self.stale_results += stale

    def end_run(self, exit_code: int) -> None:
        """Commit everything and that the master ended in good order; raises StoreError like `commit`."""
        self._add("run_ended", {"exit_code": exit_code})
        self.commit()

    def close(self) -> None:
        """
        Move the log into the file and let go of the job directory; uncommitted changes are dropped.

        Safe to call twice.

        Raises:
            StoreError: If the log could not be moved; nothing is lost, the next to open it does that.
        """
        try:
            with store_errors(self._path, "written"):
                self._connection.close()  # the last one to close moves the log; it never waits for a reader
        finally:
            self._lock.release()

    def _add(self, kind: str, row: _Row) -> None:
        self._changes[kind].append(self._row(row))

    def _row(self, row: _Row) -> _Row:
        row["run_id"] = self.run_id
        row["at"] = self._clock()
        return row

    def _write(self, kind: str, rows: Sequence[_Row]) -> int:
        """Write changes of one kind; return how many of them were stale results."""
        found = [self._connection.executemany(statement, rows).rowcount for statement in _STATEMENTS[kind]]
        return len(rows) - found[0] if kind in _RESULTS else 0


@lru_cache(256)  # a step's jobs share their command
def _words(words: tuple[str, ...]) -> str:
    return _dumps(words)


def _text(text: str) -> str:
    """SQLite keeps UTF-8 only; a name may hold any bytes (surrogates)."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _integer(value: int | None) -> int | None:
    """Hosts report numbers of any size; one too large must not keep all others from being written."""
    return value if value is None else max(-_INT_MAX, min(value, _INT_MAX))
