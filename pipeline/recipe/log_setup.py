"""Where a run's log lines go: the terminal and the run's log file."""

import logging
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from pipeline.run.textfiles import open_private

__all__ = ["LogSetup"]


class LogSetup:
    """
    Attaches `logging` to the terminal, later also to the run's file; leaving the context takes both away again.

    Attributes:
        terminal: The handler that writes to standard error.
    """

    def __init__(self, level: int, format: str, datefmt: str, stream: TextIO | None) -> None:
        """Show records from `level` on on `stream`, tracebacks only at DEBUG; None shows nothing."""
        self._formats = format, datefmt
        self._level = level
        self.terminal = _TerminalHandler(stream)
        self.terminal.setLevel(level)
        self.terminal.setFormatter((logging.Formatter if level <= logging.DEBUG else _OneLine)(*self._formats))
        self._file: logging.Handler | None = None
        self._old_level = logging.WARNING

    def __enter__(self) -> Self:
        """Begin with the terminal."""
        root = logging.getLogger()
        self._old_level = root.level
        root.setLevel(self._level)
        root.addHandler(self.terminal)
        return self

    def open_file(self, path: Path) -> None:
        """Also write to a file: INFO and above, or more if the terminal shows more."""
        self._file = _FileHandler(path)
        level = min(self._level, logging.INFO)
        self._file.setLevel(level)
        self._file.setFormatter(_Formatter(*self._formats))
        root = logging.getLogger()
        root.setLevel(min(self._level, level))
        root.addHandler(self._file)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave `logging` as it was."""
        root = logging.getLogger()
        root.setLevel(self._old_level)
        for handler in (self.terminal, self._file):
            if handler:
                root.removeHandler(handler)
                handler.close()


class _Formatter(logging.Formatter):
    """Writes out each second once: that is a sixth of what a line costs."""

    _second = -1
    _shown = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        if not datefmt:  # then it shows milliseconds
            return super().formatTime(record, datefmt)
        if int(record.created) != self._second:
            self._second, self._shown = int(record.created), super().formatTime(record, datefmt)
        return self._shown


class _OneLine(logging.Formatter):
    """A record without its traceback, which the log file has."""

    def format(self, record: logging.LogRecord) -> str:
        traces = record.exc_info, record.exc_text, record.stack_info
        record.exc_info = record.exc_text = record.stack_info = None
        try:
            return super().format(record)
        finally:
            record.exc_info, record.exc_text, record.stack_info = traces


class _TerminalHandler(logging.StreamHandler[TextIO]):
    """Standard error may be closed or `| head -1`: that is no reason for a traceback, nor to stop the run."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), (OSError, ValueError)):
            super().handleError(record)


class _FileHandler(logging.Handler):
    """Each record is written at once, by one call; a full disk must not end the run, and the terminal is told once."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._descriptor = open_private(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._has_told = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            left = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            while left:
                left = left[os.write(self._descriptor, left) :]
        except Exception:  # noqa: BLE001  # logging's own convention: a record never ends the program that logs
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._has_told:
            self._has_told = True
            print(f"{self._path}: {error.strerror}; log lines are missing there", file=sys.stderr)

    def close(self) -> None:
        with self.lock or nullcontext():
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1
        super().close()
