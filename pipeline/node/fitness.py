"""
What a warm process must not have when it forks, and what its imports must not have done.

An import runs once for all jobs of a warm process. So it must not depend on what differs between jobs, and must not
leave behind what a fork does not copy (threads, timers, devices) or copies so that jobs get into each other's way
(open files, sockets, shared memory).
"""

from __future__ import annotations

import os
import signal
import sys

from pipeline.node import PER_JOB

TYPE_CHECKING = False  # see node/script.py
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Iterator

__all__ = ["Unfit", "Watch", "watched_files"]

_DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri", "/dev/infiniband")
# Functions of C, with their class: what they return, or do, differs from job to job.
_TELLING = {
    *("getpid", "getppid", "urandom", "getrandom", "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter"),
    *("perf_counter_ns", "localtime", "gmtime", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("Random.random", "Random.getrandbits", "Random.seed", "write", "TextIOWrapper.write", "BufferedWriter.write"),
    *("BufferedRandom.write", "FileIO.write", "mkdir", "rmdir", "unlink", "remove", "rename", "replace", "symlink"),
    *("link", "truncate"),
}


class Unfit(Exception):
    """The process cannot serve several jobs; the message says why."""


class Watch:
    """Watches the imports of one script while they run; a context manager."""

    def __init__(self, script: str) -> None:
        """Look at what is there before."""
        self._script_word = script
        self._descriptors = _descriptors()
        self._shared = _shared_mappings()
        self._libraries = _library_roots()
        self._is_users: dict[str, bool] = {}
        self._notes: list[str] = []

    def __enter__(self) -> Watch:
        """Begin."""
        watched = _Argv([self._script_word])
        watched.note = self._notes.append
        sys.argv = watched
        self._environ_class = os.environ.__class__
        os.environ.__class__ = _watching(self._environ_class, self)
        sys.setprofile(self._on_call)
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        sys.setprofile(None)
        os.environ.__class__ = self._environ_class

    def check(self) -> None:
        """
        Look at what is there now.

        Raises:
            Unfit: If jobs must not be forked from this process.
        """
        if _has_threads() and not _end_with_a_fork():
            self._notes.append("they start threads")
        self._notes += [f"they leave {what} open" for _, what in sorted(_descriptors() - self._descriptors)]
        self._notes += [f"they share memory: {what}" for what in sorted(_shared_mappings() - self._shared)]
        if any(device.encode() in _read("/proc/self/maps") for device in _DEVICES):
            self._notes.append("they use a device")
        if signal.getitimer(signal.ITIMER_REAL)[0]:
            self._notes.append("they set a timer")
        if _read(f"/proc/self/task/{os.getpid()}/children").split():
            self._notes.append("they start processes")
        if sys.getrefcount(sys.modules["__main__"]) > 2 + ("__mp_main__" in sys.modules):
            self._notes.append("they keep __main__")
        numpy = sys.modules.get("numpy.random")
        if numpy and numpy.get_state()[2] not in (623, None):  # where it stands when nobody has seeded it or drawn
            self._notes.append("they use numpy's random numbers")
        if self._notes:
            raise Unfit(self._notes[0])

    def asks_for_environment(self, name: str | None) -> None:
        """Note who reads what differs between jobs; None is all of it."""
        if name in PER_JOB:
            self._notes.append(f"they read {name}")
        elif name is None and self._is_for_users(sys._getframe(2)):
            self._notes.append("they copy the environment")

    def _on_call(self, frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and function.__qualname__ in _TELLING and self._is_for_users(frame):
            self._notes.append(f"they call {function.__qualname__}")

    def _is_for_users(self, frame: FrameType | None) -> bool:
        """Whether a module of the user's is the cause, and not the import of a library."""
        while frame:
            name = frame.f_code.co_filename
            if name.startswith("<frozen importlib"):
                return False
            if name not in self._is_users:
                self._is_users[name] = not name.startswith(("<", *self._libraries))
            if self._is_users[name]:
                return True
            frame = frame.f_back
        return False


class _Argv(list):  # type: ignore[type-arg]  # of str; Python 3.8 has no list[str] at run time
    """`sys.argv` while no job is known: tells who reads more of it than the script's name."""

    note: Any

    def __getitem__(self, index: Any) -> Any:
        if index != 0:
            self.note("they read sys.argv")
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[Any]:
        self.note("they read sys.argv")
        return super().__iter__()

    def __contains__(self, word: object) -> bool:
        self.note("they read sys.argv")
        return super().__contains__(word)

    def __len__(self) -> int:
        self.note("they read sys.argv")
        return super().__len__()


def _watching(kind: Any, watch: Watch) -> Any:
    class Watching(kind):  # type: ignore[misc]
        def __getitem__(self, name: str) -> Any:
            watch.asks_for_environment(name)
            return super().__getitem__(name)

        def __iter__(self) -> Any:
            watch.asks_for_environment(None)
            return super().__iter__()

    return Watching


def watched_files(script: str) -> list[str]:
    """Return the script and the modules that were imported from anywhere but the installed libraries."""
    libraries = _library_roots()
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    mine = {os.path.abspath(file) for file in files if isinstance(file, str) and not file.startswith(libraries)}
    return sorted({os.path.abspath(script), *mine})


def _library_roots() -> tuple[str, ...]:
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    packages = [path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")]
    return tuple(os.path.join(path, "") for path in (ours, os.path.dirname(os.__file__), *packages))


def _has_threads() -> bool:
    return len(os.listdir("/proc/self/task")) > 1


def _end_with_a_fork() -> bool:
    """Fork once: OpenBLAS, numpy's, ends its threads before a fork and starts them when it needs them again."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    return not _has_threads()


def _descriptors() -> set[tuple[str, str]]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add((number, os.readlink(f"/proc/self/fd/{number}")[:200]))
        except OSError:  # the listing itself
            continue
    return found


def _shared_mappings() -> set[str]:
    lines = _read("/proc/self/maps").decode("utf-8", "replace").splitlines()
    return {line.split(None, 5)[-1] for line in lines if line.split(None, 2)[1].endswith("s")}


# The reader of processes.py again: a warm process imports as little as it can, since each fork pays for it.
def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
