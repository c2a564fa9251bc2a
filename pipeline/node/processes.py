"""
Process trees on this host: who descends from whom, and ending all of them.

Linux: /proc and `prctl(2)`. Elsewhere only a job's process group is known and ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Container, Iterable, NamedTuple

__all__ = [
    "Process",
    "become_subreaper",
    "descendants",
    "end_processes",
    "group_exists",
    "is_child",
    "is_zombie",
    "orphans",
    "snapshot",
    "tree_of_job",
]

_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
_CHUNK_BYTES = 64 << 10


class Process(NamedTuple):
    """One line of /proc/PID/stat, as far as it tells who belongs to whom."""

    pid: int
    ppid: int
    pgrp: int
    session: int


def become_subreaper() -> bool:
    """Make orphaned descendants children of this process, so that none escapes; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def snapshot() -> dict[int, Process]:
    """Return every living process (zombies left out) by pid."""
    processes = (_read_stat(int(name)) for name in _proc_names() if name.isdigit())
    return {process.pid: process for process in processes if process}


def descendants(of: Iterable[int], processes: dict[int, Process]) -> set[int]:
    """Return the pids below `of`, without `of` itself."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.ppid, []).append(process.pid)
    roots = set(of)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        new = [pid for pid in children.get(waiting.pop(), ()) if pid not in found and pid not in roots]
        found.update(new)
        waiting += new
    return found


def tree_of_job(leader: int, mark: bytes, not_ours: Iterable[int], seen: Container[int], *, is_only: bool) -> set[int]:
    """
    Return the living processes of one job.

    Args:
        leader: The pid the job was started as; also its process group and session.
        mark: What its environment holds and no other job's does; finds those that forked twice and called setsid.
        not_ours: Children of this process that are leaders of other jobs, or known not to be the job's.
        seen: What was found before; finds those that have cleared their environment and lost their parent since.
        is_only: No other job runs, so that all other children of this process are the job's, whatever they did.
    """

    def is_its(pid: int) -> bool:
        return is_only or pid in seen or mark in _read_bytes(f"/proc/{pid}/environ")

    processes = snapshot()
    here = os.getpid()
    others = set(not_ours)
    roots = {p.pid for p in processes.values() if leader in (p.pid, p.pgrp, p.session)}
    strays = [p.pid for p in processes.values() if p.ppid == here and p.pid not in roots and p.pid not in others]
    roots.update(filter(is_its, strays))
    roots.discard(here)
    # One that forks and exits every few milliseconds is gone when its line is read, and its child is in no list yet.
    # The kernel tells our children, which such orphans become, at one stroke.
    late = (orphans(others) or set()) - set(processes)
    return roots | descendants(roots, processes) | {pid for pid in late if _read_stat(pid) and is_its(pid)}


def is_zombie(pid: int) -> bool:
    """Whether a process has ended and its parent has not heard of it."""
    return _read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()[:1] == [b"Z"]


def orphans(known: Iterable[int]) -> set[int] | None:
    """Return children of this process that are not in `known`; None where the kernel has no such list."""
    try:
        return {int(pid) for pid in _read_all("/proc/thread-self/children").split()} - set(known)
    except OSError:
        return None


def end_processes(pids: Iterable[int], signum: int) -> None:
    """Send a signal to each; before KILL all are stopped, so that none forks again in the meantime."""
    targets = list(pids)
    if signum == signal.SIGKILL:
        for pid in targets:
            _send(pid, signal.SIGSTOP)
    for pid in targets:
        _send(pid, signum)


def _send(pid: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signum)


def _proc_names() -> list[str]:
    try:
        return os.listdir("/proc")
    except OSError:
        return []


def _read_stat(pid: int) -> Process | None:
    # The command name stands in brackets and may itself hold brackets and blanks: cut behind the last one.
    fields = _read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if len(fields) < 4 or fields[0] in (b"Z", b"X"):
        return None
    return Process(pid, int(fields[1]), int(fields[2]), int(fields[3]))


def _read_bytes(path: str) -> bytes:
    try:
        return _read_all(path)
    except OSError:
        return b""


def _read_all(path: str) -> bytes:
    """Half the time of a file object, which asks for the size and the kind of what has neither."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = os.read(descriptor, _CHUNK_BYTES)
        while more := os.read(descriptor, _CHUNK_BYTES):
            data += more
        return data
    finally:
        os.close(descriptor)


def is_child(pid: int) -> bool:
    """Whether it runs, or waits to be reaped, as a child of this process."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def group_exists(pgrp: int) -> bool:
    """Whether a process group has a member, if only one that waits to be reaped."""
    try:
        os.killpg(pgrp, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
