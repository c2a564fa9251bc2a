"""Writing to the standard streams, whatever they are: a terminal, a pipe, closed, or a full disk."""

import os
import sys
from collections.abc import Iterable
from typing import TextIO

__all__ = ["write_stderr_lines", "write_stdout_exactly", "write_stdout_lines"]


def write_stdout_lines(lines: Iterable[str]) -> str:
    """Write and flush lines; returns why they cannot be written, empty if they are or nobody wants them."""
    return _write(sys.stdout, lines)


def write_stdout_exactly(pieces: Iterable[str]) -> str:
    """
    Write text that another program reads: UTF-8 whatever the locale, and surrogate escapes as the bytes they stand for.

    Returns:
        Why it cannot be written, empty if it is or its reader has gone; the remaining pieces are then not asked for.
    """
    stream = sys.stdout
    if stream is None:
        return "it is closed"
    try:
        stream.flush()
        try:
            for piece in pieces:
                stream.buffer.write(piece.encode("utf-8", "surrogateescape"))
        finally:
            stream.buffer.flush()
    except UnicodeEncodeError as error:
        return f"no UTF-8 for {error.object[error.start]!a}"
    except OSError as error:
        _silence(stream)
        return "" if isinstance(error, BrokenPipeError) else error.strerror or str(error)
    return ""


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
