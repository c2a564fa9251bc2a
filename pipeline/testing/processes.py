"""Which processes belong to a throw-away host, found in /proc, and their end."""

import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from pipeline.errors import PipelineError

__all__ = ["find_processes", "kill_processes"]


def find_processes(*, below: int, mark: str | None = None, program: str | None = None) -> set[int]:
    """
    Return pids of living processes, never our own or `below` itself.

    Args:
        below: Descendants of this pid.
        mark: Also those whose environment holds this `NAME=value`, wherever they have gone in the tree.
        program: Only those whose program has this name.
    """
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        text = _read(pid, "stat").decode(errors="replace")
        name, _, rest = text.partition("(")[2].rpartition(")")
        fields = rest.split()
        if len(fields) > 1 and fields[0] not in "ZX":
            parents[pid], names[pid] = int(fields[1]), name
    found = _descendants(parents, below)
    if mark is not None:
        wanted = mark.encode()
        found |= {pid for pid in parents if wanted in _read(pid, "environ").split(b"\0")}
    found -= {below, os.getpid()}
    return {pid for pid in found if program is None or names[pid] == program or names[pid].startswith(program + "-")}


def kill_processes(find: Callable[[], Collection[int]], timeout_s: float) -> None:
    """
    Kill what `find` returns until it returns nothing: a process may fork while we look.

    Raises:
        PipelineError: If some live on after `timeout_s`; names their pids.
    """
    deadline_s = time.monotonic() + timeout_s
    empty_looks = 0
    while empty_looks < 2:  # two: in the middle of an exec a process shows no environment, and so no mark
        found = find()
        empty_looks = 0 if found else empty_looks + 1
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if found and time.monotonic() > deadline_s:
            raise PipelineError(f"processes {sorted(found)} of a throw-away host do not end")
        time.sleep(0.005)


def _descendants(parents: dict[int, int], ancestor: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [ancestor]
    while waiting:
        new = [pid for pid in children.get(waiting.pop(), ()) if pid not in found]
        found.update(new)
        waiting += new
    return found


def _read(pid: int, name: str) -> bytes:
    """Return a file of /proc/<pid>, empty if the process is gone or another user's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
