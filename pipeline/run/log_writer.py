r"""
Log records and captured output to `logging` and to one packed file per host.

A line of a packed file (`<host>.log`) is

    14:14:18.123 12.1 out| the line as the job wrote it

time of arrival, job id and attempt, and what it is: `out`, `err` or `log`. A `+` before the bar (`out+|`) says that
no newline followed in the original: the next line of the same job and kind goes on, so every byte can be had back.

The thread that reads a host's session also writes what it has read: no line waits in a queue, a result is known only
when all that its job wrote is in the file, and a job that writes faster than the disk waits, as it would for a pipe.
"""

import contextlib
import json
import logging
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import PipelineError
from pipeline.run.textfiles import open_private

__all__ = ["LogWriter"]

log = logging.getLogger(__name__)

_MAX_LINE_BYTES = 64 << 10
_MAX_OPEN_FILES = 64
_CLOSE_S = 10.0
_MAX_TIME_S = 1 << 33  # later than that `logging` cannot show; a host may send any number
# One logger for all: `logging` never forgets one, and there may be as many names as jobs, or as a host makes up.
_NODES = logging.getLogger("node")
# Terminal escapes in a job's output must not act on the user's terminal; tab and newline may pass.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


class LogWriter:
    """The run's log files; callable from any thread, one at a time gets on."""

    def __init__(self, directory: Path, names: Mapping[int, str], levels: Mapping[str, int]) -> None:
        """
        Open no file yet.

        Args:
            directory: Of the run's log files; exists.
            names: A job's name by its id; may grow meanwhile.
            levels: `logging` level of captured lines by kind, out and err.
        """
        self._directory = directory
        self._names = names
        self._levels = levels
        self._files: OrderedDict[str, BinaryIO] = OrderedDict()
        self._begun: dict[tuple[str, int, int, str], bytes] = {}  # lines whose newline has not come yet
        self._full: set[str] = set()  # hosts whose file could not be written, so that each is told of once
        self._has_told = False  # of a handler that raises
        self._lock = threading.Lock()
        self._is_closed = False

    def write(
        self,
        host: str,
        pieces: Iterable[Sequence[Any]],
        payload: bytes,
        at_s: float,
        ended: Iterable[tuple[int, int]] = (),
    ) -> None:
        """
        Take one batch; it is in the files when this returns.

        Args:
            pieces: [job, attempt, kind, length in payload] in the order they were written.
            at_s: Arrival, seconds since 1970.
            ended: (job, attempt) that write nothing more after this.

        Raises:
            PipelineError: If the log is closed: the run is over.
        """
        with self._lock:
            if self._is_closed:
                raise PipelineError("the log is closed")
            stamp = _stamp(at_s)
            packed = list(self._packed(host, pieces, payload, stamp))
            for job_id, attempt in ended:
                packed += self._rest(host, job_id, attempt, stamp)
            self._append(host, b"".join(packed))

    def write_foreign(self, record: Mapping[str, Any]) -> None:
        """Take a record of a script that no agent started; dropped when the log is closed."""
        with self._lock:
            if self._is_closed:
                return
            self._hand(_log_record(record))
            self._append("tcp", b"%s - log| %s\n" % (_stamp(time.time()), _packed_record(record)))

    def close(self) -> None:
        """Write what lost attempts left without a newline, and close all files; safe to call twice."""
        if not self._lock.acquire(timeout=_CLOSE_S):
            return  # somebody hangs in a write, to a stopped terminal or a dead file system
        self._is_closed = True
        for host, job_id, attempt, _ in list(self._begun):
            self._append(host, b"".join(self._rest(host, job_id, attempt, _stamp(time.time()))))
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._lock.release()

    def _packed(self, host: str, pieces: Iterable[Sequence[Any]], payload: bytes, stamp: bytes) -> Iterator[bytes]:
        position = 0
        for job_id, attempt, kind, length in pieces:
            data = payload[position : position + length]
            position += length
            if kind == "log":
                yield self._take_record(job_id, attempt, data, stamp)
            else:
                yield from self._take_output((host, job_id, attempt, kind), data, stamp)

    def _rest(self, host: str, job_id: int, attempt: int, stamp: bytes) -> Iterator[bytes]:
        """What an attempt left without a newline at its end."""
        for kind in ("out", "err"):
            rest = self._begun.pop((host, job_id, attempt, kind), b"")
            if rest:
                yield b"%s %d.%d %s+| %s\n" % (stamp, job_id, attempt, kind.encode(), rest)
                self._log_lines(host, job_id, kind, [rest])

    def _take_record(self, job_id: int, attempt: int, data: bytes, stamp: bytes) -> bytes:
        try:
            fields = json.loads(data.decode())
            record, text = _log_record(fields), _packed_record(fields)
        except (ArithmeticError, KeyError, RecursionError, TypeError, ValueError):
            text = b"not a log record: " + data.replace(b"\n", b" ")
        else:
            self._hand(record)
        return b"%s %d.%d log| %s\n" % (stamp, job_id, attempt, text)

    def _take_output(self, key: tuple[str, int, int, str], data: bytes, stamp: bytes) -> Iterator[bytes]:
        host, job_id, attempt, kind = key
        lines = (self._begun.pop(key, b"") + data).split(b"\n")
        rest = lines.pop()
        head = b"%s %d.%d %s" % (stamp, job_id, attempt, kind.encode())
        if lines:
            yield head + b"| " + (b"\n" + head + b"| ").join(lines) + b"\n"
            self._log_lines(host, job_id, kind, lines)
        if len(rest) >= _MAX_LINE_BYTES:
            yield head + b"+| " + rest + b"\n"
            self._log_lines(host, job_id, kind, [rest])
        elif rest:
            self._begun[key] = rest

    def _log_lines(self, host: str, job_id: int, kind: str, lines: Sequence[bytes]) -> None:
        name, level = f"node.{host}.{self._names.get(job_id, job_id)}", self._levels[kind]
        if _NODES.isEnabledFor(level):
            for line in lines:
                text = _printable(line.decode("utf-8", "backslashreplace"))
                self._hand(_NODES.makeRecord(name, level, "", 0, text, (), None))

    def _hand(self, record: logging.LogRecord | None) -> None:
        """Give a record to `logging`; a handler of the recipe's that raises must not end a host's session."""
        if record is None:
            return
        try:
            _NODES.handle(record)
        except Exception as error:  # noqa: BLE001  # it can raise anything
            if not self._has_told:
                self._has_told = True
                problem = f"{type(error).__name__}: {error}"
                with contextlib.suppress(OSError, ValueError):  # standard error may be closed
                    print(f"a handler or filter of log records failed, of {record.name}: {problem}", file=sys.stderr)

    def _append(self, host: str, data: bytes) -> None:
        """Add to a host's file; a full disk must not end the run, nor stop what other hosts write."""
        if not data:
            return
        try:
            file = self._file(host)
            file.write(data)
            file.flush()
        except OSError as error:
            self._drop_file(host, error)

    def _drop_file(self, host: str, error: OSError) -> None:
        file = self._files.pop(host, None)
        if file:
            with contextlib.suppress(OSError):  # it tries once more to write what it holds
                file.close()
        if host not in self._full:
            self._full.add(host)
            log.error("%s: %s; output of jobs is missing there", self._directory / f"{host}.log", error.strerror)

    def _file(self, host: str) -> BinaryIO:
        """Return the host's open file; the longest unused one is closed when there are too many."""
        file = self._files.pop(host, None)
        if file is None:
            if len(self._files) >= _MAX_OPEN_FILES:
                oldest = next(iter(self._files))
                try:
                    self._files.pop(oldest).close()
                except OSError as error:
                    self._drop_file(oldest, error)
            file = open(self._directory / f"{host}.log", "ab", opener=open_private)  # noqa: SIM115
        self._files[host] = file
        return file


def _stamp(at_s: float) -> bytes:
    return b"%s.%03d" % (_time_of_day(int(at_s)), int(at_s % 1 * 1000))


@lru_cache(1)
def _time_of_day(second: int) -> bytes:
    return time.strftime("%H:%M:%S", time.localtime(second)).encode()


def _printable(text: str) -> str:
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def _packed_record(record: Mapping[str, Any]) -> bytes:
    text = f"{logging.getLevelName(record['l'])} {record['n']}: {record['m']}"
    if record.get("x"):
        text += "\n" + str(record["x"])
    return text.replace("\\", "\\\\").replace("\n", "\\n").encode("utf-8", "backslashreplace")


def _log_record(fields: Mapping[str, Any]) -> logging.LogRecord | None:
    """Return a node's record as it was made there, with its own time; None if nobody wants to see its level."""
    name, level, created_s = _printable(str(fields["n"])), int(fields["l"]), float(fields["t"])
    if not _NODES.isEnabledFor(level):
        return None
    record = _NODES.makeRecord(name, level, "", 0, _printable(str(fields["m"])), (), None)
    if 0 <= created_s < _MAX_TIME_S:
        record.created = created_s
        record.msecs = created_s % 1 * 1000
    if fields.get("x"):
        record.exc_text = _printable(str(fields["x"]))
    return record
