"""
Which pipes of which jobs the agent's loop listens to.

Not those of a job that has just begun: most of what a short job writes is read at its end, all at once. To register
three pipes and to be woken for each of them was a quarter of what the agent took for a job that logs one line.
"""

from __future__ import annotations

import functools
import selectors
from typing import Callable, Iterable

from pipeline.node.attempt import Attempt

__all__ = ["Listener"]


class Listener:
    """Listens to those attempts that live for a while."""

    def __init__(
        self, selector: selectors.BaseSelector, on_output: Callable[[Attempt, int], None], after_s: float
    ) -> None:
        """
        Listen to none yet.

        Args:
            selector: The agent's.
            on_output: Called when there is something to read, with the attempt and the descriptor.
            after_s: How long an attempt has to run first. What a job writes waits so long, and the job if it is
                more than a pipe holds, but once only.
        """
        self._selector = selector
        self._on_output = on_output
        self._after_s = after_s
        self._new: dict[Attempt, float] = {}  # when they will be listened to; the first is the oldest
        self._descriptors: set[int] = set()
        self._is_paused = False

    @property
    def due_s(self) -> float:
        """When `keep_time` is needed next, in monotonic seconds."""
        return next(iter(self._new.values()), float("inf"))

    def begin(self, attempt: Attempt, now_s: float) -> None:
        """Listen to it in a while, if it is still there then."""
        if not self._is_paused:
            self._new[attempt] = now_s + self._after_s

    def keep_time(self, now_s: float) -> None:
        """Listen to those that have been there for a while."""
        while self.due_s <= now_s:
            attempt = next(iter(self._new))
            del self._new[attempt]
            self._register(attempt)

    def end(self, attempt: Attempt) -> None:
        """Do not listen to it any more."""
        self._new.pop(attempt, None)
        for descriptor in attempt.pipes:
            self.leave(descriptor)

    def leave(self, descriptor: int) -> None:
        """Do not listen to this descriptor any more, which may have been closed."""
        if descriptor in self._descriptors:
            self._descriptors.remove(descriptor)
            self._selector.unregister(descriptor)

    def pause(self, is_paused: bool, attempts: Iterable[Attempt]) -> None:
        """Listen to none of these, or to all."""
        if is_paused == self._is_paused:
            return
        self._is_paused = is_paused
        for attempt in attempts:
            self.end(attempt) if is_paused else self._register(attempt)

    def _register(self, attempt: Attempt) -> None:
        on_output = functools.partial(self._on_output, attempt)
        for descriptor in attempt.pipes:
            self._selector.register(descriptor, selectors.EVENT_READ, on_output)
            self._descriptors.add(descriptor)
