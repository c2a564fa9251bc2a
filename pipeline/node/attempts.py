"""All attempts running on this host: started, watched, settled, ended."""

from __future__ import annotations

import os
import selectors
import signal
import time
from typing import Any

from pipeline.errors import FrameError
from pipeline.formats.frames import Header
from pipeline.node.attempt import Attempt, Refused
from pipeline.node.ending import Ending
from pipeline.node.listener import Listener
from pipeline.node.outbox import Outbox
from pipeline.node.processes import group_exists, is_child, orphans

TYPE_CHECKING = False  # see node/script.py
if TYPE_CHECKING:
    from pipeline.node.warm_pool import WarmPool
    from pipeline.node.warm_process import WarmProcess

__all__ = ["Attempts"]

_STEP_S = 0.01  # between two steps of an ending
_MAX_DRAIN_BYTES = 1 << 20  # per pipe at the end: as much as a pipe can hold, and no more if a stray goes on writing
_MAX_REASON_CHARS = 2000  # it may hold a name of any length, and a frame's header has 64 KiB


class Attempts:
    """The attempts of one agent; what happens to them goes to the outbox."""

    def __init__(
        self, selector: selectors.BaseSelector, outbox: Outbox, directory: str, setup: dict[str, Any], incarnation: str
    ) -> None:
        """Share the agent's selector and outbox; see `Agent` for the rest."""
        self._selector = selector
        self._outbox = outbox
        self._directory = directory
        self._setup = setup
        self._incarnation = incarnation
        self._by_pid: dict[int, Attempt] = {}
        self._asked: list[Attempt] = []  # of a warm process, which has not told the pid yet
        self._first_script: Attempt | None = None
        self._warm: WarmPool | None = None
        self._endings: dict[int, Ending] = {}  # by pid of the attempt
        self._given_up: set[int] = set()  # pids that could not be killed: they are no later job's
        self._listener = Listener(selector, self._on_output, setup["batch_interval"])
        self._due_s = float("inf")  # when there is something to do for `keep_time`, at the earliest

    def __bool__(self) -> bool:
        """Some attempt has not been reported yet."""
        return bool(self._by_pid or self._asked)

    def run(self, header: Header, task: dict[str, Any]) -> None:
        """Start an attempt, or report that it was refused; one that runs already is left alone."""
        if self._find(header["job"], header["attempt"]):
            return
        task["environment"] = self._with_own({**self._setup["environment"], **task["environment"]}, header)
        mark = f"{self._incarnation}.{header['job']}.{header['attempt']}"
        self._start(Attempt(header, task, mark, self._directory, self._setup["python"]))

    def _start(self, attempt: Attempt) -> None:
        try:
            process = self._warm_process_for(attempt)
            if process and not process.is_ready:
                process.waiting.append(attempt)
                self._asked.append(attempt)
                return
            if process and process.ask(attempt):
                self._asked.append(attempt)
                self._due_s = min(self._due_s, attempt.deadline_s)
                return
        except Refused as refusal:
            self.tell_unstarted(attempt.job, attempt.number, "REFUSED", str(refusal))
            return
        self._start_cold(attempt)

    def _warm_process_for(self, attempt: Attempt) -> WarmProcess | None:
        if self._setup["warm"] == "off" or not attempt.may_be_warm:
            return None
        if self._warm is None:
            if self._first_script is None and self._setup["warm"] != "at once":
                self._first_script = attempt
                return None
            # Here, since it takes 10 ms: a run of one job alone does without.
            from pipeline.node.warm_pool import WarmPool

            tell = self._outbox.say_aside
            self._warm = WarmPool(self._selector, self._setup, self._hear_warm, lambda text: tell({"k": "note"}, text))
            if self._first_script:
                self._warm.find(self._first_script)
                self._first_script = None
        return self._warm.find(attempt)

    def _start_cold(self, attempt: Attempt) -> None:
        try:
            attempt.start()
        except Refused as refusal:
            self.tell_unstarted(attempt.job, attempt.number, "REFUSED", str(refusal))
            return
        self._begin(attempt)

    def _begin(self, attempt: Attempt) -> None:
        """An attempt runs: watch it."""
        self._by_pid[attempt.pid] = attempt
        self._outbox.gather_start({"k": "start", "job": attempt.job, "attempt": attempt.number, "pid": attempt.pid})
        self._listener.begin(attempt, time.monotonic())
        self._due_s = min(self._due_s, attempt.deadline_s)
        if attempt.verdict:  # somebody wanted its end before it had begun
            self._end(attempt, attempt.verdict)

    def _hear_warm(self, process: WarmProcess, message: dict[str, Any]) -> None:
        """A warm process says something of its jobs, or will say no more."""
        kind = message["k"]
        if kind in ("ready", "gone", "reaped"):
            self._start_waiting(process)
            for number in list(process.attempts):
                self._lose_warm(number, process)
            return
        attempt = process.attempts[message["id"]]
        if kind != "pid":
            del process.attempts[message["id"]]
        if kind == "pid":
            attempt.pid = message["pid"]
            self._asked.remove(attempt)
            self._begin(attempt)
            if process.is_reaped:
                self._lose_warm(message["id"], process)
        elif kind == "ended" and attempt.pid:
            self._ended(attempt, message["status"], tuple(message["usage"]))
        else:  # not forked, or killed before it was a job
            self._start_otherwise(attempt)

    def _start_waiting(self, process: WarmProcess) -> None:
        waiting, process.waiting = process.waiting, []
        for attempt in waiting:
            self._asked.remove(attempt)
            self._start(attempt)

    def _start_otherwise(self, attempt: Attempt) -> None:
        """A warm process does not start it."""
        self._asked.remove(attempt)
        attempt.forget()
        if attempt.verdict:  # somebody wanted its end
            self.tell_unstarted(attempt.job, attempt.number, attempt.verdict, "it had not begun")
        else:
            self._start_cold(attempt)

    def _lose_warm(self, number: int, process: WarmProcess) -> None:
        """Its warm process is gone: what runs is our child now, what has not begun begins the other way."""
        attempt = process.attempts[number]
        if not attempt.pid and process.channel < 0:
            # All that could tell of its pid have closed the channel: it has not run and never will.
            del process.attempts[number]
            self._start_otherwise(attempt)
        elif attempt.pid and process.is_reaped and attempt.ended_s is None and not is_child(attempt.pid):
            attempt.error = b"its exit status was lost with the warm process that it came from"
            self._ended(attempt, signal.SIGKILL, (0.0, 0.0, 0))

    def _ended(self, attempt: Attempt, status: int, used: tuple[float, float, int]) -> None:
        attempt.ended_s, attempt.status, attempt.used = time.monotonic(), status, used
        self._settle(attempt)

    def tell_unstarted(self, job: int, number: int, state: str, reason: str) -> None:
        """Report an attempt that was never started."""
        result = {"k": "result", "job": job, "attempt": number, "state": state}
        self._outbox.say({**result, "message": reason[:_MAX_REASON_CHARS]}, {})

    def cancel(self, job: int, number: int) -> None:
        """End one attempt, if it runs."""
        attempt = self._find(job, number)
        if attempt:
            self._end(attempt, "CANCELLED")

    def cancel_all(self, grace_s: float) -> None:
        """End all; those that are being ended already get no more than this grace."""
        for attempt in [*self._by_pid.values(), *self._asked]:
            self._end(attempt, "CANCELLED")
        for ending in self._endings.values():
            ending.hurry(grace_s, time.monotonic())

    def reap(self) -> None:
        """Take note of the children that have ended, also of those a job left to us."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._given_up.discard(pid)
            attempt = self._by_pid.get(pid)
            if attempt:
                self._ended(attempt, status, (usage.ru_utime, usage.ru_stime, usage.ru_maxrss))
            elif self._warm:
                self._warm.reaped(pid)

    def keep_time(self, now_s: float) -> None:
        """End what is over its time; go on with what is being ended."""
        if self._warm:
            self._warm.keep_time(now_s)
        self._listener.keep_time(now_s)
        if now_s < self._due_s:
            return
        for attempt in self._running():
            if attempt.deadline_s <= now_s:
                self._end(attempt, "TIMEOUT")
        for pid, ending in list(self._endings.items()):
            ending.step(now_s)
            if ending.is_over:
                self._settle(self._by_pid[pid])
        next_s = now_s + _STEP_S if self._endings else float("inf")
        self._due_s = min([next_s, *(attempt.deadline_s for attempt in self._running())])

    @property
    def due_s(self) -> float:
        """When `keep_time` is needed next, in monotonic seconds."""
        return min(self._due_s, self._listener.due_s)

    def close(self) -> None:
        """End what is kept for jobs to come."""
        if self._warm:
            self._warm.close()

    def pause(self, is_paused: bool) -> None:
        """Stop or resume reading what jobs write; while paused they block, and nothing is lost."""
        self._listener.pause(is_paused, self._by_pid.values())

    def _running(self) -> list[Attempt]:
        """Return those whose end has not come and is not being made."""
        return [a for a in (*self._by_pid.values(), *self._asked) if a.ended_s is None and not a.verdict]

    def _find(self, job: int, number: int) -> Attempt | None:
        attempts = (*self._by_pid.values(), *self._asked)
        return next((a for a in attempts if (a.job, a.number) == (job, number)), None)

    def _with_own(self, environment: dict[str, str], header: Header) -> dict[str, str]:
        """Add what the job needs to know; a node script finds our package before any other of that name."""
        environment.update({"PIPELINE_HOST": self._setup["host"], "PIPELINE_JOB_ID": str(header["job"])})
        if header["script"]:
            paths = (self._directory, environment.get("PYTHONPATH"))
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        return environment

    def _on_output(self, attempt: Attempt, descriptor: int) -> None:
        if descriptor in attempt.pipes:  # else it was closed by another event of the same round
            self._read(attempt, descriptor)
            if descriptor not in attempt.pipes:
                self._settle(attempt)

    def _read(self, attempt: Attempt, descriptor: int, *limit: int) -> None:
        """Pass on what one pipe holds."""
        try:
            for kind, data in attempt.read(descriptor, *limit):
                self._outbox.gather(attempt.job, attempt.number, kind, data)
        except FrameError as error:
            note = f"agent: log channel closed, it carried something else than log records: {error}\n"
            self._outbox.gather(attempt.job, attempt.number, "err", note.encode())
            attempt.close_pipe(descriptor)
        if descriptor not in attempt.pipes:
            self._listener.leave(descriptor)

    def _settle(self, attempt: Attempt) -> None:
        """Report an attempt whose leader has ended, once all that it started has gone."""
        ending = self._endings.get(attempt.pid)
        if attempt.ended_s is None and ending and ending.is_over and self._warm:
            self._warm.abandon(attempt)
        if attempt.ended_s is None or (ending and not ending.is_over):
            return
        for descriptor in reversed(list(attempt.pipes)):  # records first: Python keeps what is printed to the end
            self._read(attempt, descriptor)  # its end may wait to be read, and then nothing need be searched
        # Output at its end, no stray child, no process group: nothing can be left. Only else is /proc searched.
        if not ending and (attempt.pipes or self._may_have_strays() or group_exists(attempt.pid)):
            left = self._processes_of(attempt) or self._processes_of(attempt)  # it may slip through one look
            if left:
                attempt.left_behind = len(left)
                self._end(attempt, "")
                return
        self._report(attempt)

    def _report(self, attempt: Attempt) -> None:
        for descriptor in list(attempt.pipes):
            self._read(attempt, descriptor, _MAX_DRAIN_BYTES)
        self._listener.end(attempt)
        del self._by_pid[attempt.pid]
        ending = self._endings.pop(attempt.pid, None)
        header, payload = attempt.result()
        header["survivors"] = sorted(ending.survivors) if ending else []
        self._given_up.update(header["survivors"])
        attempt.forget()
        attempt.task["arguments"] = []  # of up to 60 MiB, and the first attempt is kept
        self._outbox.say(header, payload)

    def _may_have_strays(self) -> bool:
        strays = orphans({*self._by_pid, *self._given_up, *self._warm_pids()})
        return strays is None or bool(strays)

    def _processes_of(self, attempt: Attempt) -> set[int]:
        others = set(self._by_pid) - {attempt.pid}
        return attempt.processes(others | self._given_up | self._warm_pids(), is_only=not others and not self._asked)

    def _warm_pids(self) -> set[int]:
        return self._warm.pids if self._warm else set()

    def _end(self, attempt: Attempt, verdict: str) -> None:
        if not attempt.pid:
            attempt.verdict = attempt.verdict or verdict
            if self._warm and self._warm.withdraw(attempt):
                self._start_otherwise(attempt)
        elif attempt.pid not in self._endings:
            attempt.verdict = verdict
            now_s = time.monotonic()
            self._endings[attempt.pid] = Ending(lambda: self._processes_of(attempt), self._setup["kill_grace"], now_s)
            self._due_s = min(self._due_s, now_s + _STEP_S)
