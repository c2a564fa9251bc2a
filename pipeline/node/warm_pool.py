"""The warm processes of an agent: which scripts get one, when, and for how long."""

from __future__ import annotations

import os
import selectors
import time
from collections import OrderedDict
from typing import Any, Callable, Hashable

from pipeline.node import PER_JOB
from pipeline.node.attempt import Attempt
from pipeline.node.warm_process import WarmProcess

__all__ = ["WarmPool"]

_MIN_SEEN = 2  # jobs of a script that make it worth a process: one job alone must not pay for it
_MAX_KEYS = 1000  # that are remembered
_MAX_EARLY_ENDS = 3  # of a script's processes before one was ready: the imports do it, not somebody who killed one
_LIMITS = {
    "idle_s": 60.0,  # without a job
    "import_s": 10.0,
    "answer_s": 10.0,  # from a request to the job's pid; from the end of a job to the word of it
    "haste_s": 1.0,  # the same, if the job's end is wanted
    "rest_s": 1.0,  # since it was given a job, before it makes room: else scripts in turn drive each other out
    "look_s": 1.0,  # between two looks at all this
}

Hear = Callable[[WarmProcess, "dict[str, Any]"], None]


class WarmPool:
    """Keeps warm processes by what makes jobs alike: script, interpreter, directory, environment."""

    def __init__(
        self, selector: selectors.BaseSelector, setup: dict[str, Any], hear: Hear, tell: Callable[[str], None]
    ) -> None:
        """
        Begin without any.

        Args:
            selector: The agent's; processes are heard there.
            setup: The agent's: `python`, and `warm`: auto, or at once, with which also a first job gets a process.
            hear: Called with what a process says of its jobs, with {"k": "ready"} when it takes jobs, and with
                {"k": "gone"} when it says no more.
            tell: Called with what the master's log shall say.
        """
        self._selector = selector
        self._setup = setup
        self._hear = hear
        self._tell = tell
        self._seen: OrderedDict[Hashable, int] = OrderedDict()  # jobs that could have been warm
        self._unfit: OrderedDict[Hashable, WarmProcess] = OrderedDict()
        self._early_ends: OrderedDict[Hashable, int] = OrderedDict()
        self._by_key: OrderedDict[Hashable, WarmProcess] = OrderedDict()  # least recently used first
        self._by_pid: dict[int, WarmProcess] = {}
        self._looked_s = 0.0
        self._limits = {**_LIMITS, **setup.get("warm_limits", {})}
        self._max = max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)

    @property
    def pids(self) -> set[int]:
        """Of all of them, also those that are going."""
        return set(self._by_pid)

    def find(self, attempt: Attempt) -> WarmProcess | None:
        """Return a process that can run it, or will when it is ready; None if it is to be started the other way."""
        key = self._key(attempt)
        if key is None:
            return None
        process = self._by_key.get(key)
        if process and process.is_ready and process.is_changed:
            self._drop(key, process)
            process.retire()
            process = None
        if process is None:
            self._consider(key, attempt)
            process = self._by_key.get(key)
        if process:
            self._by_key.move_to_end(key)
        return process

    def withdraw(self, attempt: Attempt) -> bool:
        """Tell whether an attempt was waiting for a process; it no longer does."""
        process = next((process for process in self._by_pid.values() if attempt in process.waiting), None)
        if process:
            process.waiting.remove(attempt)
        return process is not None

    def _key(self, attempt: Attempt) -> Hashable | None:
        """Return what jobs of one process have in common; None if the directory is not there."""
        task = attempt.task
        try:
            place = os.stat(task["cwd"] or ".")  # a link may lead elsewhere by now
        except (OSError, ValueError):
            return None
        environment = frozenset(item for item in task["environment"].items() if item[0] not in PER_JOB)
        return task["words"][1], task["cwd"], place.st_dev, place.st_ino, environment

    def _consider(self, key: Hashable, attempt: Attempt) -> None:
        """Start a process if it will be used, and there is room for it."""
        unfit = self._unfit.get(key)
        if unfit and not unfit.is_changed:
            return
        self._seen[key] = self._seen.get(key, 0) + 1
        self._seen.move_to_end(key)
        if len(self._seen) > _MAX_KEYS:
            self._seen.popitem(last=False)
        is_worth_it = self._seen[key] >= _MIN_SEEN or self._setup["warm"] == "at once"
        if not is_worth_it or not self._make_room():
            return
        task = attempt.task
        try:
            process = WarmProcess(self._setup["python"], task["words"][1], task["environment"], task["cwd"])
        except (OSError, ValueError, TypeError):  # the job that is started the other way tells why
            return
        self._by_key[key] = self._by_pid[process.pid] = process
        self._selector.register(process.channel, selectors.EVENT_READ, lambda _: self._on_message(process))

    def _make_room(self) -> bool:
        if len(self._by_key) < self._max:
            return True
        rested_s = time.monotonic() - self._limits["rest_s"]
        processes = self._by_key.items()
        idle = next(((key, one) for key, one in processes if one.is_idle and one.asked_s < rested_s), None)
        if idle:
            self._drop(*idle)
            idle[1].retire()
        return idle is not None

    def _on_message(self, process: WarmProcess) -> None:
        descriptor = process.channel
        if descriptor < 0:
            return  # closed by another event of the same round
        for message in process.receive():
            kind = message["k"]
            if kind == "ready":
                process.take_ready(message["watched"])
                if process.is_ready:
                    self._early_ends.pop(self._key_of(process), None)
                    self._hear(process, message)
            elif kind == "unfit":
                process.take_unfit(message["why"])
            elif kind == "grown":
                self._forget(process)
                process.retire()
            else:
                self._hear(process, message)
        if process.channel < 0 and not process.was_ready and not process.why_not:
            self._take_early_end(process)
        if process.why_not:
            self._give_up(process)
        if process.channel < 0:
            self._selector.unregister(descriptor)
            self._forget(process)
            self._hear(process, {"k": "gone"})

    def _take_early_end(self, process: WarmProcess) -> None:
        """It has ended without a word before it was ready; the next job's may do better."""
        key = self._key_of(process)
        count = self._early_ends.pop(key, 0) + 1
        if count >= _MAX_EARLY_ENDS:
            process.take_unfit("they end the process, or what they read changes all the time")
        elif key is not None:
            self._early_ends[key] = count
            if len(self._early_ends) > _MAX_KEYS:
                self._early_ends.popitem(last=False)

    def reaped(self, pid: int) -> None:
        """Take note of the end of a process, if it was one of these."""
        process = self._by_pid.pop(pid, None)
        if process is None:
            return
        process.is_reaped = True
        if process.channel >= 0:
            self._on_message(process)
        self._forget(process)
        self._hear(process, {"k": "reaped"})

    def keep_time(self, now_s: float) -> None:
        """End those that take too long and those that nobody needs."""
        if now_s - self._looked_s < self._limits["look_s"]:
            return
        self._looked_s = now_s
        for key, process in list(self._by_key.items()):
            quiet_s = now_s - process.asked_s
            if not process.is_ready and quiet_s > self._limits["import_s"]:
                process.take_unfit(f"they take more than {self._limits['import_s']:.0f} s")
                self._give_up(process)
            elif process.is_idle and quiet_s > self._limits["idle_s"]:
                self._drop(key, process)
                process.retire()
        for process in list(self._by_pid.values()):
            if process.owes_an_answer(now_s, self._limits["answer_s"], self._limits["haste_s"]):
                process.kill()

    def abandon(self, attempt: Attempt) -> None:
        """End the process that does not tell of this attempt's end: then the attempt is our child, and we see it."""
        for process in self._by_pid.values():
            if attempt in process.attempts.values():
                process.kill()

    def close(self) -> None:
        """End all."""
        for process in list(self._by_pid.values()):
            process.kill()
            if process.channel >= 0:
                self._selector.unregister(process.channel)
                process.close()

    def _give_up(self, process: WarmProcess) -> None:
        """Its script gets no further process, as long as it is the same."""
        key = self._forget(process)
        process.kill()
        if key is not None:
            self._unfit[key] = process
            if len(self._unfit) > _MAX_KEYS:
                self._unfit.popitem(last=False)
            name = os.path.basename(process.script)
            self._tell(f"{name}: a Python is started for each job, as its imports do not suit many: {process.why_not}")

    def _forget(self, process: WarmProcess) -> Hashable | None:
        key = self._key_of(process)
        if key is not None:
            self._drop(key, process)
        return key

    def _key_of(self, process: WarmProcess) -> Hashable | None:
        return next((key for key, other in self._by_key.items() if other is process), None)

    def _drop(self, key: Hashable, process: WarmProcess) -> None:
        del self._by_key[key]
