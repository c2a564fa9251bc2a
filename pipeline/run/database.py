"""
The SQLite file of a run: its tables, how it is opened for writing and for reading, and its errors as ours.

    runs      one row per start of a master on this job directory; its `run_id` is the master's epoch
    hosts     what is known of a host in a run
    jobs      one row per job: where it stands now
    attempts  one row per execution of a job

Times are unix seconds of the master's clock, durations seconds of the host's monotonic clock. A later schema adds
columns and raises `SCHEMA_VERSION`; a file of a newer schema is refused.
"""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from pipeline.errors import StoreError
from pipeline.run.textfiles import one_line

__all__ = ["SCHEMA_VERSION", "connect_reader", "connect_writer", "store_errors"]

SCHEMA_VERSION = 1

_APPLICATION_ID = 0x70697065  # "pipe": tells our file from any other program's database
_WRITER_TIMEOUT_S = 5.0
_READER_TIMEOUT_S = 2.0  # nothing of ours makes a reader wait, except on a network file system

_TABLES = """
CREATE TABLE runs (
    run_id INTEGER PRIMARY KEY AUTOINCREMENT, recipe TEXT NOT NULL, job_name TEXT NOT NULL,
    start_time TEXT NOT NULL, command_line TEXT NOT NULL, log_directory TEXT NOT NULL,
    master_host TEXT NOT NULL, master_pid INTEGER NOT NULL,
    began_at REAL NOT NULL, ended_at REAL, exit_code INTEGER);
CREATE TABLE hosts (
    run_id INTEGER NOT NULL, host TEXT NOT NULL, state TEXT NOT NULL, verdict TEXT NOT NULL, cores INTEGER,
    python TEXT NOT NULL, method TEXT NOT NULL, changed_at REAL NOT NULL,
    PRIMARY KEY (run_id, host)) WITHOUT ROWID;
CREATE TABLE jobs (
    run_id INTEGER NOT NULL, job_id INTEGER NOT NULL, step INTEGER NOT NULL, state TEXT NOT NULL,
    host TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '',
    submitted_at REAL NOT NULL, finished_at REAL,
    name TEXT NOT NULL, hosts TEXT NOT NULL, command TEXT NOT NULL, arguments TEXT NOT NULL,
    PRIMARY KEY (run_id, job_id)) WITHOUT ROWID;
CREATE TABLE attempts (
    run_id INTEGER NOT NULL, job_id INTEGER NOT NULL, attempt INTEGER NOT NULL, host TEXT NOT NULL,
    state TEXT NOT NULL, dispatched_at REAL NOT NULL, started_at REAL, ended_at REAL, pid INTEGER,
    returncode INTEGER, duration_s REAL, max_rss_bytes INTEGER, user_s REAL, system_s REAL,
    message TEXT NOT NULL DEFAULT '', outputs TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (run_id, job_id, attempt)) WITHOUT ROWID;
"""

_DAMAGED = "move it away, or choose another job name (-j)"
_ADVICE = {
    sqlite3.SQLITE_FULL: "free some space on its file system",
    sqlite3.SQLITE_IOERR: "check its file system (space, quota, network)",
    sqlite3.SQLITE_CANTOPEN: "check that its directory exists and may be written",
    sqlite3.SQLITE_READONLY: "check that it and its directory may be written",
    sqlite3.SQLITE_BUSY: "another program holds it: close that, or ask again when the run has ended",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}


@contextmanager
def store_errors(path: Path, what: str) -> Iterator[None]:
    """
    Turn every error of SQLite and of the system into a StoreError of one line.

    Args:
        path: The file that is named.
        what: `written` or `read`.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the high bits only refine it
        raise _failure(path, what, str(error), _ADVICE.get(code, _DAMAGED)) from error
    except OSError as error:
        advice = "check that its directory exists and may be written"
        raise _failure(path, what, error.strerror or str(error), advice) from error


def connect_writer(path: Path, *, is_exclusive: bool) -> sqlite3.Connection:
    """
    Open the file of a run for its one writer; create it and its tables if there is none.

    Args:
        path: In an existing directory; a new file has mode 0600 less the umask.
        is_exclusive: No other process may read at the same time, and no memory is shared with one: what WAL
            needs on a network file system.

    Raises:
        StoreError: If it cannot be written, is no run store or one of a newer schema.
    """
    with store_errors(path, "written"):
        _create_file(path)
        connection = _connect(str(path), _WRITER_TIMEOUT_S)
        try:
            if is_exclusive:
                connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # before WAL, or it makes shared memory first
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """
    Open the file of a run for reading, also while it is being written.

    Raises:
        StoreError: If it cannot be read, is no run store or one of a newer schema.
    """
    uri = "file://" + quote(os.fsencode(os.path.abspath(path))) + "?mode=ro"
    with store_errors(path, "read"):
        _check_regular(path, os.stat(path))
        try:
            return _checked_reader(uri, path)
        except sqlite3.OperationalError as error:
            # A finished run in a directory that we may not write: WAL wants to create its index there. Without
            # a log nothing can be missing from the file itself.
            cannot_make_index = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            if not cannot_make_index or Path(f"{path}-wal").exists():
                raise
            return _checked_reader(uri + "&immutable=1", path)


def _checked_reader(uri: str, path: Path) -> sqlite3.Connection:
    connection = _connect(uri, _READER_TIMEOUT_S, uri=True)
    try:
        connection.execute("PRAGMA query_only=ON")
        if not _is_ours(connection, path):
            raise _failure(path, "read", "no run has been written to it yet", "ask again")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(database: str, timeout_s: float, *, uri: bool = False) -> sqlite3.Connection:
    # Opened and closed by the thread that owns the run, used in between by the dispatcher's.
    return sqlite3.connect(database, uri=uri, timeout=timeout_s, isolation_level=None, check_same_thread=False)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    is_ours = _is_ours(connection, path)  # before anything is changed: it may be somebody else's file
    connection.execute("PRAGMA journal_mode=WAL").fetchone()
    connection.execute("PRAGMA synchronous=FULL")
    if not is_ours:
        # One transaction: a master killed in here leaves a file without tables, which the next one takes.
        connection.executescript(
            f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id={_APPLICATION_ID};"
            f"PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
        )


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """False for an empty file; raise StoreError for one that is not ours or too new for us."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not version and not application:
        return False
    if application != _APPLICATION_ID:
        raise _failure(path, "used", "it is a database of another program", _DAMAGED)
    if version > SCHEMA_VERSION:
        found = f"it has schema {version}, this version knows schemas up to {SCHEMA_VERSION}"
        raise _failure(path, "used", found, "use the newer version that wrote it, or another job name (-j)")
    return True


def _create_file(path: Path) -> None:
    """Create it ourselves: SQLite would give it mode 0644; its log and index take over the file's mode."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o600)
    try:
        _check_regular(path, os.fstat(fd))
    finally:
        os.close(fd)


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _failure(path, "used", "it is not a regular file", _DAMAGED)


def _failure(path: Path, what: str, found: str, advice: str) -> StoreError:
    return StoreError(f"{one_line(path)}: the run store cannot be {what}: {found}; {advice}")
