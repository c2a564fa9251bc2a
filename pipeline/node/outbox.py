"""What the agent has to say, in order: batches of output, results, signs of life."""

from __future__ import annotations

import json
import os
from typing import Any

from pipeline.formats.frames import Header, encode_message

__all__ = ["Outbox"]

_WRITE_BYTES = 256 << 10


class Outbox:
    """
    Frames waiting for the session's standard output, which must not block.

    Log records and captured bytes are gathered to one `output` frame: its header lists
    [job, attempt, kind, length] for each piece of the payload. Every frame but signs of life has a `seq`.

    Starts are gathered, too: of a job that is over at once the master then hears start, output and result together.
    """

    def __init__(self, descriptor: int, batch_bytes: int) -> None:
        """Write to `descriptor`, which must be non-blocking."""
        self._descriptor = descriptor
        self._batch_bytes = batch_bytes
        self._starts: list[Header] = []
        self._pieces: list[tuple[int, int, str, int]] = []
        self._payload: list[bytes] = []
        self._gathered_bytes = 0
        self._waiting = bytearray()
        self._seq = 0
        self._unacknowledged: set[int] = set()

    @property
    def has_batch(self) -> bool:
        """Starts or output have been gathered that are in no frame yet."""
        return bool(self._pieces or self._starts)

    @property
    def waiting_bytes(self) -> int:
        """Bytes the session has not taken yet."""
        return len(self._waiting) + self._gathered_bytes

    @property
    def has_frames(self) -> bool:
        """Frames wait for the session."""
        return bool(self._waiting)

    @property
    def is_acknowledged(self) -> bool:
        """The master has every result."""
        return not self._unacknowledged

    def gather(self, job: int, attempt: int, kind: str, data: bytes) -> None:
        """Add output of an attempt; `kind` is out, err or log."""
        self._pieces.append((job, attempt, kind, len(data)))
        self._payload.append(data)
        self._gathered_bytes += len(data)
        # Each piece takes some 30 bytes of a header that holds 64 KiB at most.
        if self._gathered_bytes >= self._batch_bytes or len(self._pieces) >= 1000:
            self.flush()

    def gather_start(self, header: Header) -> None:
        """Add that an attempt has started."""
        self._starts.append(header)

    def flush(self) -> None:
        """Make frames of what was gathered; the start of an attempt comes before its output."""
        for start in self._starts:
            self._waiting += encode_message({**start, "seq": self._next_seq()})
        self._starts = []
        if self._pieces:
            header = {"k": "output", "seq": self._next_seq(), "p": self._pieces}
            self._waiting += encode_message(header, b"".join(self._payload))
            self._pieces = []
            self._payload = []
            self._gathered_bytes = 0

    def say(self, header: Header, payload: Any = None) -> None:
        """Send a message that has a number; `payload` becomes JSON."""
        self.flush()
        header["seq"] = self._next_seq()
        if header["k"] == "result":
            self._unacknowledged.add(self._seq)
        self._waiting += encode_message(header, b"" if payload is None else json.dumps(payload).encode("ascii"))

    def say_aside(self, header: Header, payload: Any = None) -> None:
        """Send a message without a number: nothing is lost if it is."""
        self._waiting += encode_message(header, b"" if payload is None else json.dumps(payload).encode("ascii"))

    def acknowledge(self, seq: int) -> None:
        """Note that the master has all results up to `seq`."""
        self._unacknowledged = {number for number in self._unacknowledged if number > seq}

    def write(self) -> None:
        """
        Give the session as much as it takes now.

        Raises:
            OSError: If nobody reads it any more.
        """
        while self._waiting:
            try:
                written = os.write(self._descriptor, self._waiting[:_WRITE_BYTES])
            except BlockingIOError:
                return
            del self._waiting[:written]

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq
