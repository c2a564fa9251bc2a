"""
A job that was forked from a warm process: what makes it like one that was started, and how it ends.

A complete end of the interpreter takes 3 ms, most of them page faults: it touches every object there is. What of it
can be seen is done here, to the job's own objects only: threads, `atexit`, flushing, finalizers. Where that may not be
all, the interpreter itself ends the process.
"""

from __future__ import annotations

import gc
import os
import sys
from itertools import takewhile
from weakref import ref

from pipeline.node import MARK

TYPE_CHECKING = False  # see node/script.py
if TYPE_CHECKING:
    import socket
    from types import ModuleType
    from typing import Any, Dict

    Names = Dict[str, Any]

__all__ = ["become", "can_leave_with", "dress", "leave", "namespace", "note_what_is_there", "prepare"]

_ENV_START = 50 - 3  # of /proc/PID/stat, behind the command, which is its second field; proc(5)
_NAMES_OF_MAIN = ("__main__", "__mp_main__")  # the other one is multiprocessing's

_kept: Names = {"status": 0, "given": ()}  # of this process, which is one job's


def prepare(path: str) -> None:
    """
    Put a `__main__` in place that has what Python gives to a script, and find where the mark is to be written.

    Raises:
        OSError: If this system does not let a process write its own memory: its children could not be told apart.
    """
    _kept["old"] = sys.modules["__main__"]  # if it went, so would the names of what runs
    sys.modules["__main__"] = _new_main(path)
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    with open("/proc/self/environ", "rb") as file:
        environment = b"\0" + file.read()
    start = f"\0{MARK}=".encode()
    offset = environment.index(start) + len(start) - 1
    _kept["room"] = environment[offset + 1 :].partition(b"\0")[0]
    _kept["address"] = int(fields[_ENV_START]) + offset
    _write_mark(_kept["room"])


def _new_main(path: str) -> ModuleType:
    old = _kept["old"].__dict__
    main = type(sys)("__main__")
    names = main.__dict__
    names["__builtins__"] = sys.modules["builtins"]
    names["__loader__"] = type(old["__loader__"])("__main__", path)
    names["__file__"] = path
    if "__annotations__" in old:
        names["__annotations__"] = {}
    if "__cached__" in old:
        names["__cached__"] = None
    return main


def rehearse_fork() -> None:
    """
    Run what Python runs in each child of a fork before anything else.

    What has run some times is adapted and its look-ups are known (see `rehearse` in `script.py`): else each child would
    do that anew, in pages of its own: 12 page faults and 30 us of each job.
    """
    threading: Any = sys.modules.get("threading")
    random: Any = sys.modules.get("random")
    for _ in range(20):
        if hasattr(threading, "_after_fork"):
            threading._after_fork()
        if hasattr(random, "_inst"):
            random._inst.seed()


def note_what_is_there(channel: socket.socket) -> None:
    """Look at what the imports have made, before it is frozen; `leave` needs to know what it can do."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    parts = {id(channel), *(id(part) for s in streams if s for part in (s, s.buffer, getattr(s.buffer, "raw", None)))}
    kept = [o for o in gc.get_objects() if _has_finalizer(type(o)) and id(o) not in parts]
    try:
        _kept["finalizers"] = [ref(o) for o in kept]
    except TypeError:  # an object that cannot be watched
        _kept["finalizers"] = [lambda: True]
    _kept["argv"] = sys.argv  # modules may hold it
    _kept["modules"] = set(sys.modules)
    _kept["exit"] = _exit_of_c() if _has_foreign(sys.modules) else None
    numpy = sys.modules.get("numpy.random")
    _kept["reseed"] = numpy.seed if numpy else None


def dress(request: Names) -> None:
    """
    Give this process what is the next job's, so that the child of the coming fork has it, the mark above all.

    Here that costs 20 us, in pages that the warm process uses anyway; in the child it would cost 150 us, since each
    function that runs for the first time takes some page faults.
    """
    given = request["environment"]
    _write_mark(given[MARK].encode("ascii"))
    for name in _kept["given"]:
        if name not in given:
            del os.environ[name]
    for name in given:
        os.environ[name] = given[name]
    _kept["given"] = given
    argv = request["argv"]
    _kept["argv"][:] = argv
    sys.argv = argv
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[1:] = argv
    # A new one: what is from before `gc.freeze` is frozen, and so would be what the job puts there.
    main = _new_main(sys.modules["__main__"].__dict__["__file__"])
    for name in _NAMES_OF_MAIN:
        if name in sys.modules:
            sys.modules[name] = main


def become(request: Names, descriptors: list[int], channel: int) -> None:
    """
    Make this child of a fork the job that was asked for.

    The agent hears of its pid before it runs anything: else it could not be ended, and could be started twice.
    """
    os.setsid()
    os.write(channel, b'{"k": "pid", "id": %d, "pid": %d}' % (request["id"], os.getpid()))
    os.close(channel)
    for descriptor, number in zip(descriptors, (1, 2, request["channel"])):
        if descriptor == number:
            os.set_inheritable(number, True)
        else:
            os.dup2(descriptor, number)
            os.close(descriptor)
    if _kept["reseed"]:
        _kept["reseed"]()


def namespace() -> Names:
    """Return that of `__main__`."""
    return sys.modules["__main__"].__dict__


def can_leave_with(error: BaseException) -> bool:
    """Note the exit status; False where the interpreter has to say what this exception means."""
    code: Any = error.code if isinstance(error, SystemExit) else ""
    if code is None or (isinstance(code, int) and -(1 << 31) <= code < 1 << 31):
        _kept["status"] = (code or 0) & 0xFF
        return True
    hook = sys.excepthook

    def without_us(kind: type[BaseException], value: BaseException, traceback: Any) -> None:
        value.__traceback__ = traceback and traceback.tb_next  # the first frame is that of warm.py
        hook(kind, value, value.__traceback__)

    sys.excepthook = without_us
    gc.unfreeze()
    return False


def leave() -> None:
    """
    End the process.

    Raises:
        SystemExit: If the interpreter has to do it.
    """
    status = _kept["status"]
    # Its links: two of each directory, and one for each thread; a third of what a listing costs.
    if os.stat("/proc/self/task").st_nlink != 3 or os.environ.get("PYTHONINSPECT"):
        _leave_it_to_python(status)
    threading, atexit = sys.modules.get("threading"), sys.modules.get("atexit")
    if threading:
        threading._shutdown()
    if atexit:
        try:  # noqa: SIM105  # contextlib's code would cost each job six page faults
            atexit._run_exitfuncs()
        except BaseException:  # noqa: BLE001, S110
            pass  # it has told of what went wrong; before Python 3.10 it also raises the last
    new = _new_modules()
    exit_of_c = _kept["exit"] or (_exit_of_c() if _has_foreign(new) else None)
    for name in (*_NAMES_OF_MAIN, *new):
        sys.modules.pop(name, None)
    gc.collect()
    _flush(status)
    if any(map(_has_finalizer, {type(o) for o in gc.get_objects()})) or any(map(_has_more_to_do, _kept["finalizers"])):
        _leave_it_to_python(status)
    (exit_of_c or os._exit)(status)


def _new_modules() -> list[str]:
    """
    Return the names that the job has added to `sys.modules`; they are its last ones, if it has taken none away.

    To look at a name is to count a reference to it: for all of them that would be 30 page faults.
    """
    known = _kept["modules"]
    new = list(takewhile(lambda name: name not in known, reversed(sys.modules)))
    if len(sys.modules) != len(known) + len(new):
        new = [name for name in sys.modules if name not in known]
    return new


def _flush(status: int) -> None:
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream and not stream.closed:
                stream.flush()
    except BaseException:  # noqa: BLE001  # the interpreter tries it once more, and tells
        _leave_it_to_python(status)


def _leave_it_to_python(status: int) -> None:
    gc.unfreeze()  # what is frozen would not be collected
    sys.exit(status)


def _write_mark(mark: bytes) -> None:
    """Make /proc/PID/environ tell whose job this and what it forks is; os.environ does not reach there."""
    room: bytes = _kept["room"]
    if len(mark) > len(room):
        raise OSError(f"no room for a mark of {len(mark)} bytes")
    memory = os.open("/proc/self/mem", os.O_WRONLY)
    try:
        os.pwrite(memory, mark.ljust(len(room), b"\0"), _kept["address"])
    finally:
        os.close(memory)


def _has_more_to_do(reference: Any) -> bool:
    """Whether an object that the imports made is there, and not a generator that has come to its end."""
    kept = reference()
    return kept is not None and getattr(kept, "gi_frame", kept) is not None


def _has_finalizer(kind: type) -> bool:
    return hasattr(kind, "__del__")


def _has_foreign(names: Any) -> bool:
    """Whether there is C code that is not Python's own: it may have output that only exit(3) writes."""
    for name in names:
        if name == "ctypes":
            return True
        origin = getattr(getattr(sys.modules.get(name), "__spec__", None), "origin", None) or ""
        if ".so" in origin and "lib-dynload" not in origin and origin.endswith(".so"):
            return True
    return False


def _exit_of_c() -> Any:
    """Return exit(3)."""
    import ctypes

    return ctypes.PyDLL(None).exit
