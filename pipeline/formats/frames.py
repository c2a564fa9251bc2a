"""
Frames: the only thing that travels between master, agent and node script.

A frame is a 4-byte big-endian length of all that follows, a 2-byte big-endian header length, a JSON object
(the header) and raw bytes (the payload). A frame has at most `MAX_FRAME_BYTES`. A message whose payload does not
fit travels as `part` frames, which carry the payload's beginning, and then the frame itself with the rest.

    master -> agent                                          agent -> master
    setup   parameters and environment of the session        hello   who and what answers
    run     start one attempt: payload JSON argv, ...         start   seq: the attempt runs, pid
    cancel  end one attempt                                   output  seq: log records and captured bytes
    ack     all up to seq is safe in the master               result  seq: how the attempt ended
    stat    which of these paths exist                        stat    the answer
    beat    the master is alive                               beat    the agent is alive
                                                              note    a line for the master's log
    stop    end all jobs, report, then go                     bye     nothing more comes

    node script -> agent: log (one JSON record), outputs (a JSON object), error (text: why it
    failed), piece (part of a long message, with the pid of its sender).

Runs on hosts: standard library, Python 3.8.
"""

from __future__ import annotations

import json
import struct

from pipeline.errors import FrameError

TYPE_CHECKING = False  # see node/script.py
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator

    Header = Dict[str, Any]
else:
    Header = dict

__all__ = ["MAX_FRAME_BYTES", "MAX_MESSAGE_BYTES", "FrameReader", "Header", "encode_frame", "encode_message"]

MAX_FRAME_BYTES = 1 << 20
MAX_MESSAGE_BYTES = 64 << 20

_PREFIX = struct.Struct(">IH")
_CHUNK_BYTES = MAX_FRAME_BYTES - (64 << 10)  # leaves the header all that its 2-byte length can say
_dumps = json.JSONEncoder(separators=(",", ":")).encode


def encode_frame(header: Header, payload: bytes = b"") -> bytes:
    """
    Make one frame.

    Raises:
        FrameError: If header or frame is over its limit; use `encode_message` for large payloads.
    """
    head = _dumps(header).encode("ascii")
    length = 2 + len(head) + len(payload)
    if len(head) > 0xFFFF or length > MAX_FRAME_BYTES:
        raise FrameError(f"frame of {length} bytes with a header of {len(head)}: at most {MAX_FRAME_BYTES} and 65535")
    return _PREFIX.pack(length, len(head)) + head + payload


def encode_message(header: Header, payload: bytes = b"") -> bytes:
    """
    Make the frames of one message, `part` frames first if the payload is large.

    Raises:
        FrameError: If the payload is over `MAX_MESSAGE_BYTES`.
    """
    if len(payload) <= _CHUNK_BYTES:
        return encode_frame(header, payload)
    if len(payload) > MAX_MESSAGE_BYTES:
        raise FrameError(f"message of {len(payload)} bytes: at most {MAX_MESSAGE_BYTES}")
    chunks = [payload[i : i + _CHUNK_BYTES] for i in range(0, len(payload), _CHUNK_BYTES)]
    parts = [encode_frame({"k": "part"}, chunk) for chunk in chunks[:-1]]
    return b"".join([*parts, encode_frame(header, chunks[-1])])


class FrameReader:
    """Turns bytes, however they are cut, into messages; after an error it accepts nothing more."""

    def __init__(self, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        """Limit a message with all its parts to `max_message_bytes`."""
        self._buffer = bytearray()
        self._parts = bytearray()  # not a list: 64 MiB in parts of one byte would be gigabytes of it
        self._max_message_bytes = max_message_bytes
        self._error = ""

    def feed(self, data: bytes) -> list[tuple[Header, bytes]]:
        """
        Add received bytes and return the messages they complete, as (header, payload).

        Raises:
            FrameError: At the first byte that cannot be right; every later call raises it again.
        """
        if self._error:
            raise FrameError(self._error)
        self._buffer += data
        try:
            return list(self._messages())
        except FrameError as error:
            self._error = str(error)
            raise

    @property
    def is_between_messages(self) -> bool:
        """Nothing of an unfinished message is held."""
        return not self._buffer and not self._parts

    def _messages(self) -> Iterator[tuple[Header, bytes]]:
        position = 0
        buffer = self._buffer
        while len(buffer) - position >= _PREFIX.size:
            length, head_length = _PREFIX.unpack_from(buffer, position)
            if not 4 <= head_length + 2 <= length <= MAX_FRAME_BYTES:
                raise FrameError(f"frame length {length} with header length {head_length}")
            end = position + 4 + length
            if len(buffer) < end:
                break
            payload_at = position + _PREFIX.size + head_length
            header = _parse_header(buffer[position + _PREFIX.size : payload_at])
            message = self._assemble(header, bytes(buffer[payload_at:end]))
            position = end
            if message:
                yield message
        del buffer[:position]

    def _assemble(self, header: Header, payload: bytes) -> tuple[Header, bytes] | None:
        if len(self._parts) + len(payload) > self._max_message_bytes:
            raise FrameError(f"message of more than {self._max_message_bytes} bytes")
        if header["k"] == "part":
            self._parts += payload
            return None
        if self._parts:
            payload = bytes(self._parts) + payload
            self._parts = bytearray()
        return header, payload


def _parse_header(head: bytearray) -> Header:
    try:
        header = json.loads(head.decode())  # of bytes it would first have to find out their encoding
    except (ValueError, RecursionError):
        raise FrameError(f"frame header is not JSON: {bytes(head[:60])!r}") from None
    if not isinstance(header, dict) or not isinstance(header.get("k"), str):
        raise FrameError(f"frame header without a kind: {bytes(head[:60])!r}")
    return header
