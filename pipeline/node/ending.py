"""Ending a process tree: TERM, a while to tidy up, KILL until nothing is left."""

from __future__ import annotations

import signal
from typing import Callable

from pipeline.node.processes import end_processes

__all__ = ["Ending"]

_LOOK_S = 0.02  # between two looks at /proc
_EMPTY_LOOKS = 3  # in a row: a tree that forks all the time may slip through one
_GIVE_UP_S = 4.0  # after KILL: what still lives then is in the kernel's hands


class Ending:
    """
    The end of one tree, made in steps by the agent's loop.

    Attributes:
        is_over: Nothing is left, or it was given up.
        survivors: Pids that could not be killed.
    """

    def __init__(self, find: Callable[[], set[int]], grace_s: float, now_s: float) -> None:
        """Send TERM to all that `find` finds; `now_s` is monotonic seconds."""
        self._find = find
        self._kill_at_s = now_s + grace_s
        self._look_at_s = now_s + _LOOK_S
        self._empty_looks = 0
        self.is_over = False
        self.survivors: set[int] = set()
        pids = find()
        end_processes(pids, signal.SIGTERM)
        end_processes(pids, signal.SIGCONT)  # a stopped process would not see its TERM

    def hurry(self, grace_s: float, now_s: float) -> None:
        """Shorten what is left of the time to tidy up."""
        self._kill_at_s = min(self._kill_at_s, now_s + grace_s)

    def step(self, now_s: float) -> None:
        """Look what is left and act when it is time."""
        if self.is_over or now_s < self._look_at_s:
            return
        left = self._find()
        self._empty_looks = 0 if left else self._empty_looks + 1
        self._look_at_s = now_s + (_LOOK_S if left else 0.0)
        if left and now_s >= self._kill_at_s:
            end_processes(left, signal.SIGKILL)
        if self._empty_looks == _EMPTY_LOOKS or now_s >= self._kill_at_s + _GIVE_UP_S:
            self.is_over = True
            self.survivors = left
