"""
The agent: one per host and session. It runs what the master sends and tells what happens, over stdin and stdout.

One thread, one selector. It takes one decision of its own: when the master is gone (end of stdin, nobody reads
stdout, no sign of life for a lease) it ends its jobs and itself. It goes the same way, without a goodbye, when
somebody else ends it (SIGTERM, SIGHUP): for the master that is a lost connection.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import stat
import sys
import time
from typing import Any

from pipeline.errors import FrameError
from pipeline.formats.frames import FrameReader, Header
from pipeline.node.attempts import Attempts
from pipeline.node.outbox import Outbox

__all__ = ["Agent"]

_PAUSE_BYTES = 4 << 20  # jobs are not read, and so block, while the session takes less than they write
_READ_BYTES = 256 << 10
_ACK_WAIT_S = 5.0


class Agent:
    """Runs attempts until the master says stop or is gone."""

    def __init__(self, descriptors: tuple[int, int, int], directory: str, setup: dict[str, Any]) -> None:
        """
        Take over a session.

        Args:
            descriptors: From the master, to the master, and one that ends when our guardian dies.
            directory: Private to this agent; its package is in there.
            setup: host, python, environment, warm (False, or see `WarmPool`), and the parameters (seconds and bytes)
                as the master has them.
        """
        self._stdin, self._stdout, self._guardian = descriptors
        self._setup = setup
        self._incarnation = os.urandom(16).hex()
        self._selector = selectors.DefaultSelector()
        self._outbox = Outbox(self._stdout, setup["batch_bytes"])
        self._attempts = Attempts(self._selector, self._outbox, directory, setup, self._incarnation)
        self._frames = FrameReader()
        self._child_ended, self._wakeup = socket.socketpair()
        self._heard_s = self._beat_s = self._flushed_s = _boottime_s()
        self._is_told_to_go = False  # by a signal: handlers only note it, since the loop is in the midst of something
        self._is_stopping = False
        self._is_alone = False
        self._is_write_awaited = False
        self._leave_at_s = float("inf")

    def serve(self, hello: Header) -> None:
        """Say hello and work until there is nothing left to do."""
        self._listen()
        self._outbox.say_aside({**hello, "k": "hello", "incarnation": self._incarnation})
        while not self._is_done():
            self._write()
            for key, _ in self._selector.select(self._wait_s()):
                key.data(key.fd)
            self._keep_time()
        self._attempts.close()
        self._outbox.say_aside({"k": "bye"})
        os.set_blocking(self._stdout, True)
        self._write()

    def _listen(self) -> None:
        for descriptor in (self._stdin, self._stdout, self._wakeup.fileno(), self._child_ended.fileno()):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        # Handlers, not SIG_IGN: what is ignored stays ignored in the jobs.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_termination)
        self._selector.register(self._stdin, selectors.EVENT_READ, self._on_master)
        self._selector.register(self._guardian, selectors.EVENT_READ, lambda _: self._go_alone())
        self._selector.register(self._child_ended.fileno(), selectors.EVENT_READ, self._on_signal)

    def _on_termination(self, *_: Any) -> None:
        self._is_told_to_go = True

    def _on_signal(self, descriptor: int) -> None:
        os.read(descriptor, 4096)
        self._attempts.reap()

    def _on_master(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._go_alone()
            return
        self._heard_s = _boottime_s()
        try:
            for header, payload in self._frames.feed(data):
                self._obey(header, payload)
        except FrameError as error:
            print("agent: the master's frames are broken:", error, file=sys.stderr)
            self._go_alone()

    def _obey(self, header: Header, payload: bytes) -> None:
        kind = header["k"]
        if kind == "run" and self._is_stopping:
            self._attempts.tell_unstarted(header["job"], header["attempt"], "REFUSED", "its agent is stopping")
        elif kind == "run":
            self._attempts.run(header, json.loads(payload))
        elif kind == "cancel":
            self._attempts.cancel(header["job"], header["attempt"])
        elif kind == "ack":
            self._outbox.acknowledge(header["seq"])
        elif kind == "stat":
            self._outbox.say_aside({"k": "stat", "id": header["id"]}, [_stat(path) for path in json.loads(payload)])
        elif kind == "stop":
            self._stop(header["grace_s"])

    def _keep_time(self) -> None:
        now_s = _boottime_s()
        if self._is_told_to_go:
            # Not as after a stop of the master's, who would take its jobs for cancelled and its queue for refused.
            self._go_alone()
        self._attempts.keep_time(time.monotonic())
        if not self._outbox.has_batch:
            self._flushed_s = now_s
        elif now_s - self._flushed_s >= self._setup["batch_interval"]:
            self._outbox.flush()
        if now_s - self._beat_s >= self._setup["beat_interval"]:
            self._beat_s = now_s
            self._outbox.say_aside({"k": "beat"})
        if now_s - self._heard_s > self._setup["lease"]:
            self._go_alone()
        self._attempts.pause(self._outbox.waiting_bytes > _PAUSE_BYTES)

    def _wait_s(self) -> float:
        now_s = time.monotonic()
        wait_s: float = min(self._setup["beat_interval"], self._attempts.due_s - now_s)
        if self._outbox.has_batch:
            wait_s = min(wait_s, self._setup["batch_interval"])
        return max(wait_s, 0.001)

    def _write(self) -> None:
        """Send what the session takes; ask to be woken when it takes more."""
        try:
            if not self._is_alone:
                self._outbox.write()
        except OSError:
            self._go_alone()
        wants_more = self._outbox.has_frames and not self._is_alone
        if wants_more == self._is_write_awaited:
            return
        self._is_write_awaited = wants_more
        if wants_more:
            self._selector.register(self._stdout, selectors.EVENT_WRITE, lambda _: None)
        else:
            self._selector.unregister(self._stdout)

    def _stop(self, grace_s: float) -> None:
        self._is_stopping = True
        self._setup["kill_grace"] = min(grace_s, self._setup["kill_grace"])
        self._leave_at_s = time.monotonic() + grace_s + _ACK_WAIT_S
        self._attempts.cancel_all(grace_s)

    def _go_alone(self) -> None:
        """Nobody listens any more, or shall hear: end everything and report nothing."""
        if self._is_alone:
            return
        self._is_alone = True
        for descriptor in (self._stdin, self._guardian):
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
        self._stop(self._setup["kill_grace"])

    def _is_done(self) -> bool:
        if not self._is_stopping or self._attempts:
            return False
        return self._is_alone or self._outbox.is_acknowledged or time.monotonic() > self._leave_at_s


def _boottime_s() -> float:
    """Seconds that also pass while the machine sleeps."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return time.monotonic()
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _stat(path: str) -> list[Any]:
    """Return [kind, size in bytes] of a path on this host; kind is file, directory, other or missing."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ["missing", 0]
    kind = "file" if stat.S_ISREG(status.st_mode) else "directory" if stat.S_ISDIR(status.st_mode) else "other"
    return [kind, status.st_size]
