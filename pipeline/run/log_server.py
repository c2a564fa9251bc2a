"""
The log server: a ZeroMQ socket into which every host's link feeds log records and captured output.

One thread takes them out, in order per host, and hands them to `logging` and to the run's files. The links connect
over `inproc`; a feed blocks when its host's share of the queue is full, and through SSH's own flow control so does
the job. The TCP form for scripts that no agent started is in `log_gate.py`.
"""

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from pipeline.errors import PipelineError
from pipeline.run.log_writer import LogWriter

if TYPE_CHECKING:
    from pipeline.run.log_gate import LogGate

__all__ = ["LogFeed", "LogServer"]

_ADDRESS = "inproc://log"
_POLL_MS = 200
_SEND_MS = 1000
_JOIN_S = 10.0
_BATCH_BYTES = 64 << 10


class LogFeed:
    """One host's way into the log server; used by one thread."""

    def __init__(self, server: "LogServer", context: zmq.Context[Any], host: str, max_bytes: int) -> None:
        """Hold at most about `max_bytes` in the queue: so many batches of 64 KiB, shared by both ends."""
        self._server = server
        self._host = host.encode()
        self._socket = context.socket(zmq.PUSH)
        self._socket.sndhwm = max(1, max_bytes // _BATCH_BYTES // 2)
        self._socket.sndtimeo = _SEND_MS
        self._socket.connect(_ADDRESS)
        self._sent = server.sent_before(host)

    def send(self, pieces: Any, payload: bytes) -> None:
        """Pass on the pieces of an `output` frame; blocks while the queue is full."""
        self._push(json.dumps(pieces).encode(), payload)

    def finish(self, job_id: int, attempt: int) -> int:
        """Say that an attempt's output is complete; returns the count to wait for in `LogServer.wait_for`."""
        self._push(json.dumps([job_id, attempt]).encode())
        return self._sent

    def close(self) -> None:
        """Leave what was sent to the server."""
        self._socket.close(linger=1000)
        self._server.forget_feed(self._host.decode(), self._sent)

    def _push(self, *parts: bytes) -> None:
        while True:
            if self._server.is_closed:
                raise PipelineError("the log server is closed")
            try:
                self._socket.send_multipart((self._host, *parts))
            except zmq.Again:
                continue
            self._sent += 1
            return


class LogServer:
    """Owns the socket, its thread and the run's log files."""

    def __init__(
        self, directory: Path, names: Mapping[int, str], levels: Mapping[str, int], gate: "LogGate | None" = None
    ) -> None:
        """
        Start serving.

        Args:
            directory: Of the run's log files; exists.
            names: A job's name by its id; may grow meanwhile.
            levels: `logging` level of captured lines by kind, out and err.
            gate: The TCP gate, if there is to be one; closed with the server.
        """
        self._context: zmq.Context[Any] = zmq.Context()
        self._writer = LogWriter(directory, names, levels)
        self._received: dict[str, int] = {}
        self._sent: dict[str, int] = {}
        self._progress = threading.Condition()
        self._gate = gate
        self.is_closed = False
        self._open_feeds = 0
        self._socket = self._context.socket(zmq.PULL)
        self._socket.rcvhwm = 1  # what waits, waits in the host's own feed
        self._socket.bind(_ADDRESS)
        self._thread = threading.Thread(target=self._serve, name="log server", daemon=True)
        self._thread.start()

    def open_feed(self, host: str, max_bytes: int) -> LogFeed:
        """
        Return a feed for the calling thread.

        Raises:
            PipelineError: If the server is closed: the host answered when nobody wanted it any more.
        """
        with self._progress:
            if self.is_closed:
                raise PipelineError("the log server is closed")
            self._open_feeds += 1
        return LogFeed(self, self._context, host, max_bytes)

    def sent_before(self, host: str) -> int:
        """Return how many messages the earlier feeds of a host have sent."""
        return self._sent.get(host, 0)

    def forget_feed(self, host: str, sent: int) -> None:
        """Note that a feed is closed; called by it."""
        with self._progress:
            self._sent[host] = sent
            self._open_feeds -= 1
        self._end_context()

    def wait_for(self, host: str, count: int, timeout_s: float) -> bool:
        """Wait until so many messages of a host are in the log; False if they are not in time."""
        with self._progress:
            return self._progress.wait_for(lambda: self._received.get(host, 0) >= count, timeout_s)

    def close(self) -> None:
        """Take what has arrived, then end; safe to call twice."""
        with self._progress:
            if self.is_closed:
                return
            self.is_closed = True
        with self._context.socket(zmq.PUSH) as wake, contextlib.suppress(zmq.Again):
            # Else the thread would wait for the end of its poll; Again: it has gone meanwhile.
            wake.linger = 0
            wake.connect(_ADDRESS)
            wake.send_multipart([b""], zmq.NOBLOCK)
            self._thread.join(timeout=_JOIN_S)
        self._thread.join(timeout=_JOIN_S)
        self._end_context()

    def _end_context(self) -> None:
        """End ZeroMQ once nobody uses it: with a socket open in another thread it would wait for ever."""
        with self._progress:
            if self.is_closed and not self._open_feeds and not self._thread.is_alive():
                self._context.term()

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        if self._gate:
            poller.register(self._gate.socket, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(_POLL_MS if not self.is_closed else 0))
            if self._gate and self._gate.socket in ready:
                for record in self._gate.receive():
                    self._writer.write_foreign(record)
            if self._socket in ready:
                self._take(self._socket.recv_multipart())
            elif self.is_closed and not ready:
                break
            else:
                self._writer.flush()
        self._writer.close()
        self._socket.close(linger=0)
        if self._gate:
            self._gate.close()

    def _take(self, parts: list[bytes]) -> None:
        host = parts[0].decode()
        if not host:  # the wake-up of `close`
            return
        if len(parts) == 3:
            self._writer.write(host, json.loads(parts[1]), parts[2], time.time())
        else:
            self._writer.finish(host, *json.loads(parts[1]))
        with self._progress:
            self._received[host] = self._received.get(host, 0) + 1
            self._progress.notify_all()
