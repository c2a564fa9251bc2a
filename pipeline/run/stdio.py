"""Writing to the standard streams, whatever they are: a terminal, a pipe, closed, or a full disk."""

import os
import sys
from collections.abc import Iterable
from typing import TextIO

__all__ = ["write_stderr_lines", "write_stdout_lines"]


def write_stdout_lines(lines: Iterable[str]) -> str:
    """Write and flush lines; returns why they cannot be written, empty if they are or nobody wants them."""
    return _write(sys.stdout, lines)


def write_stderr_lines(lines: Iterable[str]) -> None:
    """Write lines; there is nobody to tell if that is not possible."""
    _write(sys.stderr, lines)


def _write(stream: TextIO | None, lines: Iterable[str]) -> str:
    if stream is None:  # started with the stream closed
        return ""
    try:
        # Names of files need not be UTF-8, nor the terminal's encoding have all characters.
        encoding = stream.encoding or "utf-8"
        text = "".join(f"{line}\n" for line in lines)
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:
        _silence(stream)
        return "" if isinstance(error, BrokenPipeError) else error.strerror or str(error)
    return ""


def _silence(stream: TextIO) -> None:
    """What is left in the buffer would raise again when the interpreter ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, stream.fileno())
    finally:
        os.close(null)
