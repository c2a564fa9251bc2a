"""The lock file that keeps a second master out of a job directory."""

import fcntl
import os
import socket
import time
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.run.textfiles import one_line

__all__ = ["RunLock", "is_locked"]

# `is_locked` holds the lock for some microseconds to find out; a master that meets it must not be turned away.
_TRIES = 10
_WAIT_S = 0.02


class RunLock:
    """
    An exclusive flock on a file, held until `release` or the end of the process.

    The kernel gives it up when the process dies, however it dies. The file itself stays: removing it would let
    two masters lock two files of the same name.
    """

    def __init__(self, path: Path, now: float) -> None:
        """
        Take the lock and write `pid host since` into the file.

        Args:
            path: Created with mode 0600 less the umask; its directory exists.
            now: Unix seconds.

        Raises:
            UsageError: If another master holds it.
            OSError: If the file cannot be made or its file system knows no locks.
        """
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        try:
            if not _take(self._fd):
                raise UsageError(_holder(self._fd, path.parent))
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()} {socket.gethostname()} {since}\n".encode(), 0)
        except BaseException:
            os.close(self._fd)
            raise

    def release(self) -> None:
        """Give the lock up; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def is_locked(path: Path) -> bool:
    """
    Return whether a master holds the lock file; False if there is none.

    Raises:
        OSError: If it cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _take(fd: int) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_WAIT_S)
        else:
            return True
    return False


def _holder(fd: int, directory: Path) -> str:
    words = os.pread(fd, 500, 0).decode("utf-8", "backslashreplace").split()
    pid, host, *since = words if len(words) >= 3 else ("?", "?", "?")
    return (
        f"job directory {one_line(directory)} is in use by pid {pid} on {host} since {' '.join(since)}; "
        "choose another job name (-j) or wait"
    )
