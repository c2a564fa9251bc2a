"""What a node script tells its agent over its own socket: log records, outputs, why it failed."""

from __future__ import annotations

import json
from typing import Any, Iterator

from pipeline.errors import FrameError
from pipeline.formats.frames import FrameReader
from pipeline.node import MAX_OUTPUTS_BYTES

__all__ = ["Told"]


class Told:
    """
    Of one attempt.

    Attributes:
        outputs: A JSON object.
        error: In the script's words.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.outputs = b"{}"
        self.error = b""
        self._records = FrameReader(2 * MAX_OUTPUTS_BYTES)
        self._pieces: dict[int, bytearray] = {}  # of unfinished messages, by pid of the sender
        self._problem = ""

    def problem(self) -> str:
        """Return what was wrong with the channel, at its end; empty if all was well."""
        return self._problem or ("" if self._records.is_between_messages else "it ended within a frame")

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """
        Take in what came; yields ("log", record).

        Raises:
            FrameError: If it is something else than frames.
        """
        try:
            for header, payload in self._records.feed(data):
                if "pid" in header:
                    payload = self._assemble(header, payload)
                if header["k"] == "log":
                    yield "log", payload
                elif header["k"] == "outputs":
                    self.outputs = _checked_outputs(payload)
                elif header["k"] == "error":
                    self.error = payload
        except FrameError as error:
            self._problem = str(error)
            raise

    def _assemble(self, header: dict[str, Any], payload: bytes) -> bytes:
        """Keep a piece of a message until the rest has come; several processes may be sending one."""
        pid = header["pid"]
        if not isinstance(pid, int):
            raise FrameError(f"pid {pid!r}")
        if header["k"] != "piece":
            return bytes(self._pieces.pop(pid, b"")) + payload
        if header.get("is_first"):  # else the pid may be that of one that was killed before it was done
            self._pieces[pid] = bytearray()
        if sum(map(len, self._pieces.values())) + len(payload) > 2 * MAX_OUTPUTS_BYTES:
            raise FrameError(f"messages of more than {2 * MAX_OUTPUTS_BYTES} bytes")
        self._pieces.setdefault(pid, bytearray()).extend(payload)
        return b""


def _checked_outputs(payload: bytes) -> bytes:
    """Checked here, where it costs the script its channel: the master would give up the host that sends no object."""
    try:
        is_object = isinstance(json.loads(payload), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise FrameError(f"outputs are no JSON object: {payload[:60]!r}")
    return payload
