"""Names and sizes of files as this machine sees them: lists of names, patterns, directories."""

import fnmatch
import glob
import os
import re
import stat
import sys
from collections.abc import Iterator

from pipeline.errors import MapfileError
from pipeline.run.textfiles import one_line

__all__ = ["file_bytes", "find_files", "read_names"]

_CHUNK_BYTES = 1 << 20
_MAX_NAME_BYTES = 64 << 10  # 16 times what a path may have


def read_names(path: str, *, ends_with_nul: bool = False) -> Iterator[str]:
    """
    Yield the names of a list, one per line, as they are read; empty ones are left out.

    Of lines, a byte order mark in front of the first and a carriage return at the end of each are dropped.

    Args:
        path: Of a regular file; `-` is standard input.
        ends_with_nul: Names end with NUL, as `find -print0` writes them, not with a newline.

    Raises:
        MapfileError: One line, for a list that cannot be read, a name that is too long, or a NUL in a line.
    """
    end = b"\0" if ends_with_nul else b"\n"
    where = "<stdin>" if path == "-" else one_line(path)
    rest = b""
    for number, chunk in enumerate(_chunks(path)):
        if number == 0 and not ends_with_nul:
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        head, found, tail = (rest + chunk).rpartition(end)
        if not ends_with_nul:
            if b"\0" in head or b"\0" in tail:
                raise MapfileError(
                    f"{where}: expected names on lines, got a NUL byte; -0 reads names that end with one"
                )
            head = (head + found).replace(b"\r\n", b"\n")
        if len(tail) > _MAX_NAME_BYTES:
            raise MapfileError(f"{where}: expected names of at most {_MAX_NAME_BYTES} bytes, got a longer one")
        rest = tail
        yield from filter(None, _decoded(head).split(_decoded(end)))
    if rest:
        yield _decoded(rest)


def find_files(word: str, pattern: str | None = None) -> list[str]:
    """
    Return what a word stands for, as this machine sees it.

    Args:
        word: A file, as it is; else a pattern (`*`, `?`, `[...]`, `**`), whose matches come sorted. A directory stands
            for the files in it at any depth, sorted, without hidden ones, FIFOs, devices and links to nothing; links to
            directories are not followed. A directory with a `table.dat` (a casacore table, such as a MeasurementSet)
            counts as one file, and so does one whose name matches `pattern`.
        pattern: Only names that match it, of what is found in directories.

    Raises:
        MapfileError: All problems, a line each: nothing there or in it, a directory that cannot be read.
    """
    is_one = os.path.lexists(word) or not glob.has_magic(word)
    matches = [word] if is_one else sorted(glob.glob(word, recursive=True))
    missing = [match for match in matches or [word] if not os.path.exists(match)]
    problems = [f"{one_line(path)}: expected a file, a directory or a pattern, found nothing there" for path in missing]
    found = [file for match in matches for file in _files_of(match, pattern, problems)]
    if not found and not problems:
        of_pattern = "" if pattern is None else f" that match {pattern!r}"
        problems = [f"{one_line(word)}: expected files{of_pattern} in it, found none"]
    if problems:
        raise MapfileError(problems)
    return found


def file_bytes(path: str) -> int | None:
    """Return the size of a file, or of all files in a directory; None if this machine cannot see it."""
    try:
        status = os.stat(path)
        if not stat.S_ISDIR(status.st_mode):
            return status.st_size
        return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)
    except (OSError, ValueError):
        return None


def _files_of(top: str, pattern: str | None, problems: list[str]) -> Iterator[str]:
    """Yield the files that one path stands for; goes down with a stack of its own, however deep the tree is."""
    matches = re.compile(fnmatch.translate("*" if pattern is None else pattern)).match
    waiting = [top]
    while waiting:
        path = waiting.pop()
        is_wanted = matches(os.path.basename(path.rstrip("/"))) is not None
        if not os.path.isdir(path) or (pattern is not None and is_wanted) or _is_table(path):
            if path is top or (is_wanted and not _is_special(path)):
                yield path
        elif path is top or not os.path.islink(path):
            waiting += _entries(path, problems)


def _entries(directory: str, problems: list[str]) -> list[str]:
    """Return what is in a directory, last name first, without what is hidden."""
    try:
        names = sorted(os.listdir(directory), reverse=True)
    except OSError as error:
        problems.append(f"{one_line(directory)}: cannot be read: {error.strerror}")
        return []
    return [os.path.join(directory, name) for name in names if not name.startswith(".")]


def _is_special(path: str) -> bool:
    """Whether there is nothing to read: a FIFO, a device, a link to nothing. What cannot be looked at may be a file."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _is_table(directory: str) -> bool:
    return os.path.isfile(os.path.join(directory, "table.dat"))


def _chunks(path: str) -> Iterator[bytes]:
    try:
        if path == "-":
            if sys.stdin is None:
                raise MapfileError("<stdin>: expected a list of files, found it closed")
            while chunk := sys.stdin.buffer.read(_CHUNK_BYTES):
                yield chunk
            return
        # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise MapfileError(f"{one_line(path)}: expected a regular file, or - for standard input")
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except (OSError, ValueError) as error:
        where = "<stdin>" if path == "-" else one_line(path)
        raise MapfileError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
