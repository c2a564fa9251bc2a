"""
One warm process, as the agent has it: started, asked for jobs, heard, ended. `warm.py` is what runs in it.

They speak in JSON over a socket that keeps packets whole; a request carries the job's descriptors.

    agent -> process     a job: id, argv, environment (what differs between jobs), channel (number of its descriptor)
    process -> agent     ready (watched: files), or unfit (why); grown: give it no more; failed (id, why): no fork;
                         ended (id, status, usage)
    its child -> agent   pid (id, pid): from here on it is a job
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from typing import Any

from pipeline.node import MARK, PER_JOB
from pipeline.node.attempt import Attempt
from pipeline.node.processes import is_zombie

__all__ = ["WarmProcess"]

_ROOM = "0" * 80  # for the marks of its jobs, see `warm_job.py`
_MAX_MESSAGE_BYTES = 256 << 10
_MAX_WHY_CHARS = 300


class WarmProcess:
    """
    A process that is forked for jobs.

    Attributes:
        pid: Its own.
        channel: Descriptor to watch for what it says; -1 when it has been closed.
        is_ready: It takes jobs.
        why_not: It will never take any, for this reason.
        attempts: Given to it and not ended, by the number of the request.
        waiting: To be given to it when it is ready.
        asked_s: When an attempt was given to it for the last time, or when it was started; monotonic seconds.
    """

    def __init__(self, python: str, script: str, environment: dict[str, str], cwd: str | None) -> None:
        """
        Start it; jobs wait while its imports run, since they would take as long to do the same.

        Raises:
            OSError: If it cannot be started.
        """
        self.script = script
        self.attempts: dict[int, Attempt] = {}
        self.waiting: list[Attempt] = []
        self.is_ready = self.was_ready = False
        self.is_reaped = False
        self.why_not = ""
        self.asked_s = time.monotonic()
        self._cwd = cwd
        self._last_id = 0
        self._owed: dict[Attempt, float] = {}  # of which it should have told something, and since when
        self._files = {path: _stamp(path) for path in [os.path.join(cwd or "", script)]}
        own = {name: value for name, value in environment.items() if name not in PER_JOB}
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._noise, noise = os.pipe()
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "warm.py")
        try:
            process = subprocess.Popen(
                [python, program, str(theirs.fileno()), script],
                stdin=subprocess.DEVNULL,
                stdout=noise,
                stderr=noise,
                cwd=cwd,
                env={**own, MARK: _ROOM},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            os.close(self._noise)
            raise
        finally:
            theirs.close()
            os.close(noise)
        process.returncode = 0  # the agent reaps it
        self.pid = process.pid
        ours.setblocking(False)
        os.set_blocking(self._noise, False)
        self._socket: socket.socket | None = ours

    @property
    def channel(self) -> int:
        """Descriptor to watch for what it says; -1 when it is closed."""
        return self._socket.fileno() if self._socket else -1

    @property
    def is_idle(self) -> bool:
        """It has nothing to do."""
        return self.is_ready and not self.attempts

    @property
    def is_changed(self) -> bool:
        """One of the files it was made of is another than it was."""
        return any(_stamp(path) != stamp for path, stamp in self._files.items())

    def ask(self, attempt: Attempt) -> bool:
        """Give it an attempt; False if it does not take it. Raises `Refused` if there is no such script any more."""
        return attempt.offer(lambda request, descriptors: self._send(attempt, request, descriptors))

    def _send(self, attempt: Attempt, request: dict[str, Any], descriptors: list[int]) -> bool:
        number = self._last_id + 1
        data = json.dumps({**request, "id": number}).encode("ascii")
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        try:
            assert self._socket
            self._socket.sendmsg([data], rights)
        except OSError:  # it has its hands full, the words are too long, or it is gone
            return False
        self._last_id = number
        self.attempts[number] = attempt
        self.asked_s = time.monotonic()
        return True

    def owes_an_answer(self, now_s: float, limit_s: float, haste_s: float) -> bool:
        """
        Whether it has long not told of a pid, or of the end of a job: then it is stuck.

        Args:
            haste_s: The limit for attempts whose end is wanted.
        """
        silent = [a for a in self.attempts.values() if not a.pid or (not a.pipes and is_zombie(a.pid))]
        for attempt in set(self._owed) - set(silent):
            del self._owed[attempt]
        return any(
            now_s - self._owed.setdefault(attempt, now_s) > (haste_s if attempt.verdict else limit_s)
            for attempt in silent
        )

    def receive(self) -> list[dict[str, Any]]:
        """Return what it has said; at the end of the channel that is closed."""
        messages = []
        while self._socket:
            try:
                data = self._socket.recv(_MAX_MESSAGE_BYTES)
            except BlockingIOError:
                break
            except ConnectionResetError:
                continue  # it ended with requests unread; that is told first, and then what it has said
            except OSError:
                data = b""
            if not data:
                self.close()
                break
            messages.append(json.loads(data))
        return messages

    def take_ready(self, watched: list[str]) -> None:
        """Its imports are done; whatever they have printed every job would have to print."""
        if not self._socket:
            return  # it has ended since
        self.was_ready = True
        if noise := self._read_noise():
            self.take_unfit(f"they print: {noise.splitlines()[0]!r}")
        else:
            self._files.update({path: _stamp(path) for path in watched if path not in self._files})
            self.is_ready = True

    def take_unfit(self, why: str) -> None:
        """It takes no jobs; a job that is started the other way will tell its user what is wrong."""
        self.is_ready = False
        self.why_not = why[:_MAX_WHY_CHARS]

    def retire(self) -> None:
        """Let it go when it has read what it was asked; its jobs go on, as children of ours."""
        self.is_ready = False
        if self._socket:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.kill()

    def kill(self) -> None:
        """End it at once, with whatever its imports have started; its jobs are in sessions of their own."""
        self.is_ready = False
        if not self.is_reaped:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close our ends."""
        self.is_ready = False
        if self._socket:
            self._socket.close()
            self._socket = None
            os.close(self._noise)

    def _read_noise(self) -> str:
        try:
            return os.read(self._noise, 4096).decode("utf-8", "replace")
        except BlockingIOError:
            return ""


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)
