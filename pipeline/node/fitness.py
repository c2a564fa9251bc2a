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
import time
from importlib.machinery import PathFinder
from itertools import takewhile

from pipeline.node import PER_JOB

TYPE_CHECKING = False  # see node/script.py
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Callable, NoReturn

__all__ = ["Watch", "hiding_module", "watched_files"]

_THREAD_END_S = 0.05  # a thread that has been joined is there for the system a little longer
_DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/dri", "/dev/infiniband")
_STARTING = {"fork", "forkpty", "fork_exec", "posix_spawn", "posix_spawnp", "system", "execv", "execve"}
# Functions of C, with their class: what they return, or do, differs from job to job.
_TELLING = {
    *_STARTING,
    *("getpid", "getppid", "getpgrp", "getpgid", "getsid", "urandom", "getrandom", "generate_time_safe", "times"),
    *("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time"),
    *("process_time_ns", "clock_gettime", "clock_gettime_ns", "localtime", "gmtime", "strftime", "ctime", "asctime"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("Random.random", "Random.getrandbits", "Random.seed", "write", "writev", "pwrite", "TextIOWrapper.write"),
    *("BufferedWriter.write", "BufferedRandom.write", "FileIO.write", "mkdir", "mkfifo", "mknod", "rmdir", "unlink"),
    *("remove", "rename", "replace", "symlink", "link", "truncate", "ftruncate", "utime", "kill", "killpg"),
    *("connect", "socket.connect", "socket.sendto"),  # the first is sqlite3's
}
_NO_FILES = ("/dev/", "/proc/", "/sys/")
_NOT_READ = {"__class_getitem__", "__doc__", "__getattribute__", "__hash__", "__init__", "__new__"}  # of a list


class Watch:
    """
    Watches the imports of one script while they run; a context manager.

    What cannot be done once for all jobs is refused before it is done, as far as it can be: it must not be done twice.

    Attributes:
        files: The user's modules have read them.
    """

    def __init__(self, script: str, refuse: Callable[[str], NoReturn]) -> None:
        """Look at what is there before; `refuse` tells why jobs must not be forked, and ends the process."""
        self.files: set[str] = set()
        self._script_word = script
        self._refuse = refuse
        self._descriptors = _descriptors()
        self._shared = _shared_mappings()
        self._libraries = _library_roots()
        self._is_users: dict[str, bool] = {}
        self._is_on = False

    def __enter__(self) -> Watch:
        """Begin."""
        kind = _telling_list(self._reads_argv)
        sys.argv = kind([self._script_word])
        self._orig_argv = getattr(sys, "orig_argv", None)  # Python 3.10 has it
        if self._orig_argv:
            sys.orig_argv = kind(self._orig_argv)
        self._environ_class = os.environ.__class__
        self._set_class(_watching(self._environ_class, self))
        self._is_on = True
        sys.setprofile(self._on_call)
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._is_profiled = sys.getprofile() != self._on_call
        sys.setprofile(None)
        self._is_on = False
        if self._orig_argv:
            sys.orig_argv = self._orig_argv
        self._set_class(self._environ_class)

    def check(self) -> None:
        """Look at what is there now; refuses if jobs must not be forked from this process."""
        if _has_threads() and not _end_with_a_fork():
            self._refuse("they start threads")
        for _, what in sorted(_descriptors() - self._descriptors):
            self._refuse(f"they leave {what} open")
        for what in sorted(_shared_mappings() - self._shared):
            self._refuse(f"they share memory: {what}")
        if any(device.encode() in _read("/proc/self/maps") for device in _DEVICES):
            self._refuse("they use a device")
        if any(signal.getitimer(timer)[0] for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)):
            self._refuse("they set a timer")
        if _read(f"/proc/self/task/{os.getpid()}/children").split():
            self._refuse("they start processes")
        if self._is_profiled or sys.gettrace():
            self._refuse("they trace or profile")
        if sys.getrefcount(sys.modules["__main__"]) > 2 + ("__mp_main__" in sys.modules):
            self._refuse("they keep __main__")
        numpy = sys.modules.get("numpy.random")
        if numpy and numpy.get_state()[2] not in (623, None):  # where it stands when nobody has seeded it or drawn
            self._refuse("they use numpy's random numbers")

    def asks_for_environment(self, name: str | None) -> None:
        """Note who reads what differs between jobs; None is all of it."""
        if name in PER_JOB:
            self._refuse(f"they read {name}")
        elif name is None and self._is_for_users(sys._getframe(2)):
            self._refuse("they copy the environment")

    def _on_call(self, frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            name = function.__qualname__
            if name in _TELLING and self._is_for_users(frame):
                self._refuse("they start processes" if name in _STARTING else f"they call {name}")
        elif event == "c_return" and (function is open or function is os.open) and self._is_for_users(frame):
            self._look_at_open()

    def _look_at_open(self) -> None:
        # An audit hook would be told of the mode before, but cannot be taken away: each job would pay for it.
        for number, path in _descriptors() - self._descriptors:
            flags = _read(f"/proc/self/fdinfo/{number}").partition(b"flags:")[2].split(None, 1)
            is_written = flags and int(flags[0], 8) & (os.O_WRONLY | os.O_RDWR)
            if is_written and path.startswith("/") and path != os.devnull:  # and not a pipe or socket
                self._refuse(f"they write {path}")
            if not path.startswith((*_NO_FILES, *self._libraries)) and os.path.isfile(path):
                self.files.add(path)

    @staticmethod
    def _set_class(kind: Any) -> None:
        os.environ.__class__ = os.environb.__class__ = kind

    def _reads_argv(self) -> None:
        if self._is_on:
            self._refuse("they read sys.argv")

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


def hiding_module() -> str | None:
    """Return the name of a module that the script would find in place of one that is imported already, if any."""
    places = list(takewhile(lambda place: place != os.path.dirname(os.__file__), sys.path))
    for name, module in list(sys.modules.items()):
        if "." not in name and name not in sys.builtin_module_names and name != "__main__":
            spec = PathFinder.find_spec(name, places)
            if spec and spec.loader and spec.origin != getattr(module, "__file__", None):
                return name
    return None


def _telling_list(tell: Callable[[], None]) -> Any:
    """Return a class of lists, for `sys.argv` while no job is known, that tell of any use but of the first word."""

    def telling(name: str) -> Any:
        def method(self: Any, *args: Any, **named: Any) -> Any:
            if (name, args) != ("__getitem__", (0,)):
                tell()
            return real(self, *args, **named)

        real = getattr(list, name, lambda *_: NotImplemented)
        return method

    return type("Argv", (list,), {name: telling(name) for name in {*vars(list), "__radd__"} - _NOT_READ})


def _watching(kind: Any, watch: Watch) -> Any:
    class Watching(kind):  # type: ignore[misc]
        def __getitem__(self, name: Any) -> Any:
            watch.asks_for_environment(os.fsdecode(name))
            return super().__getitem__(name)

        def __iter__(self) -> Any:
            watch.asks_for_environment(None)
            return super().__iter__()

    return Watching


def watched_files(script: str, read: set[str]) -> list[str]:
    """Return the script, what was read, and the modules that come from anywhere but the installed libraries."""
    libraries = _library_roots()
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    mine = {os.path.abspath(file) for file in files if isinstance(file, str) and not file.startswith(libraries)}
    return sorted({os.path.abspath(script), *mine, *read})


def _library_roots() -> tuple[str, ...]:
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
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
    end_s = time.monotonic() + _THREAD_END_S
    while _has_threads() and time.monotonic() < end_s:
        time.sleep(0.001)
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
