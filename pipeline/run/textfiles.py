"""The one place that reads and writes users' text files: configurations, mapfiles, parsets."""

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.errors import UsageError

__all__ = [
    "MAX_TEXT_BYTES",
    "check_writable",
    "one_line",
    "open_private",
    "read_input",
    "read_text",
    "write_pieces",
    "write_text",
]

MAX_TEXT_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 20
_KINDS = (
    (stat.S_ISDIR, "directory"),
    (stat.S_ISFIFO, "FIFO"),
    (stat.S_ISCHR, "character device"),
    (stat.S_ISBLK, "block device"),
    (stat.S_ISSOCK, "socket"),
)
_Path = str | os.PathLike[str]


def one_line(text: _Path) -> str:
    """Return `text` fit for one line of a message: what cannot be printed is escaped."""
    shown = os.fspath(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)


def read_text(
    path: _Path,
    *,
    error: type[UsageError] = UsageError,
    max_bytes: int = MAX_TEXT_BYTES,
    what: str = "configuration file",
) -> str:
    """
    Read a regular file as UTF-8; a byte order mark is dropped.

    Args:
        path: Links are followed.
        error: Class of what is raised.
        max_bytes: A larger file is an error, and is not read.
        what: Kind of file, for the message about a missing one.

    Returns:
        The text with its line ends as they are; bytes that are not UTF-8 stay, as surrogate escapes.

    Raises:
        UsageError: Of class `error`; one line with the path, for a missing, unreadable, too large or special file
            or a NUL byte.
    """
    try:
        data = _read_bytes(path, max_bytes, error)
    except FileNotFoundError:
        raise error(f"{one_line(path)}: expected a {what}, found nothing there") from None
    except (OSError, ValueError) as problem:
        raise error(f"{one_line(path)}: cannot be read: {_reason(problem)}") from None
    return _text_of(data, one_line(path), error)


def read_input(
    path: _Path,
    *,
    error: type[UsageError] = UsageError,
    max_bytes: int = MAX_TEXT_BYTES,
    what: str = "input file",
) -> str:
    """Read as `read_text` does; `-` is standard input, to its end, whatever it is."""
    if path != "-":
        return read_text(path, error=error, max_bytes=max_bytes, what=what)
    if sys.stdin is None:
        raise error("<stdin>: expected text, found it closed")
    data = bytearray()
    try:
        while len(data) <= max_bytes and b"\0" not in data[-_CHUNK_BYTES:]:
            chunk = sys.stdin.buffer.read(_CHUNK_BYTES)
            if not chunk:
                break
            data += chunk
    except (OSError, ValueError) as problem:
        raise error(f"<stdin>: cannot be read: {_reason(problem)}") from None
    if len(data) > max_bytes:
        _raise_too_large("<stdin>", len(data), max_bytes, error)
    return _text_of(data, "<stdin>", error)


def write_text(path: _Path, text: str, *, error: type[UsageError] = UsageError, is_private: bool = True) -> None:
    """
    Write a file at once: a reader, or a crash, sees the old text or the new, never a part.

    A file that is there keeps its permissions. Where `path` is a link, the file it points to is replaced.

    Args:
        path: Of a regular file, or of none yet.
        text: All of it.
        error: Class of what is raised.
        is_private: A new file is for its owner only (0600), not for those that the umask allows.

    Raises:
        UsageError: Of class `error`; one line with the path. The old file is then untouched.
    """
    write_pieces(path, [text], error=error, is_private=is_private)


def write_pieces(
    path: _Path, pieces: Iterable[str], *, error: type[UsageError] = UsageError, is_private: bool = True
) -> None:
    """Write a file as `write_text` does, piece by piece; what making the pieces raises leaves the old file alone."""
    try:
        target = Path(os.path.realpath(path))
        kept_mode = None
        with contextlib.suppress(FileNotFoundError):
            kept_mode = target.stat().st_mode
            _check_regular(kept_mode, path, error)
        chunks = (piece.encode("utf-8", "surrogateescape") for piece in pieces)
        _replace(target, chunks, 0o600 if is_private else 0o666, kept_mode)
    except (OSError, ValueError) as problem:
        raise error(f"{one_line(path)}: cannot be written: {_reason(problem)}") from None


def check_writable(path: _Path) -> None:
    """
    Find out, before the work, whether `write_text` could write a file; nothing is left behind.

    Raises:
        UsageError: One line with the path.
    """
    try:
        target = Path(os.path.realpath(path))
        with contextlib.suppress(FileNotFoundError):
            _check_regular(target.stat().st_mode, path, UsageError)
        descriptor, name = _open_beside(target, 0o600)
        os.close(descriptor)
        os.unlink(name)
    except (OSError, ValueError) as problem:
        raise UsageError(f"{one_line(path)}: cannot be written: {_reason(problem)}") from None


def open_private(path: str, flags: int) -> int:
    """Open as `os.open` does, a new file for its owner only; to be the `opener` of `open`."""
    return os.open(path, flags, 0o600)


def _read_bytes(path: _Path, max_bytes: int, error: type[UsageError]) -> bytes:
    # O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        status = os.fstat(descriptor)
        _check_regular(status.st_mode, path, error)
        if status.st_size > max_bytes:
            _raise_too_large(path, status.st_size, max_bytes, error)
        chunks: list[bytes] = []
        room = max_bytes + 1  # the size may lie: files of /proc say 0, others grow
        while room > 0 and (chunk := os.read(descriptor, min(room, _CHUNK_BYTES))):
            chunks.append(chunk)
            room -= len(chunk)
    finally:
        os.close(descriptor)
    if room <= 0:
        _raise_too_large(path, max_bytes + 1, max_bytes, error)
    return b"".join(chunks)


def _text_of(data: bytes | bytearray, source: str, error: type[UsageError]) -> str:
    nul = data.find(b"\0")
    if nul >= 0:
        line, column = data.count(b"\n", 0, nul) + 1, nul - data.rfind(b"\n", 0, nul)
        raise error(f"{source}:{line}:{column}: expected text, found a NUL byte")
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _raise_too_large(path: _Path, n_bytes: int, max_bytes: int, error: type[UsageError]) -> None:
    raise error(f"{one_line(path)}: expected at most {max_bytes} bytes, found {n_bytes} or more")


def _check_regular(mode: int, path: _Path, error: type[UsageError]) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "special file")
        raise error(f"{one_line(path)}: expected a regular file, found a {kind}")


def _open_beside(target: Path, mode: int) -> tuple[int, str]:
    """Make a file in the same folder; returns its descriptor and path."""
    # Not tempfile: that knows no other mode than 0600, and counts no bytes. A name has at most 255 of them.
    start = target.name.encode("utf-8", "surrogateescape")[:100].decode("utf-8", "ignore")
    name = os.path.join(target.parent, f".{start}.{secrets.token_hex(8)}")
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), name


def _replace(target: Path, chunks: Iterable[bytes], new_mode: int, kept_mode: int | None) -> None:
    """Write beside `target`, then rename; the mode is that of the file replaced, else the new one and the umask."""
    descriptor, name = _open_beside(target, new_mode if kept_mode is None else 0o600)
    try:
        with open(descriptor, "wb") as file:
            if kept_mode is not None:
                with contextlib.suppress(OSError):  # not every file system can
                    os.fchmod(descriptor, kept_mode & 0o777)
            file.writelines(chunks)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, target)
    except BaseException:
        _quietly(os.unlink, name)
        raise
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    """Make the new name itself survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _quietly(os.fsync, descriptor)  # not every file system can
    finally:
        os.close(descriptor)


def _quietly(call: Callable[..., None], argument: str | int) -> None:
    with contextlib.suppress(OSError):
        call(argument)


def _reason(problem: OSError | ValueError) -> str:
    if isinstance(problem, UnicodeEncodeError):
        return f"no UTF-8 for {problem.object[problem.start]!a}"
    return problem.strerror or str(problem) if isinstance(problem, OSError) else str(problem)
