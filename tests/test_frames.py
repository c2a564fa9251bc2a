"""Frames: every message comes out as it went in, however its bytes are cut, and nothing else comes out."""

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from pythons import find_pythons

import pipeline
from pipeline.errors import FrameError
from pipeline.formats.frames import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, FrameReader, encode_frame, encode_message

# Every kind that is sent, with payloads that are hard on text readers.
MESSAGES: list[tuple[dict[str, Any], bytes]] = [
    ({"k": "hello", "cores": 8, "hostname": "lce001"}, b""),
    ({"k": "run", "job": 1, "attempt": 1, "timeout_s": None}, b'{"words": ["a\\nb", "\'\\""]}'),
    ({"k": "output", "seq": 1, "p": [[1, 1, "out", 3], [1, 1, "err", 2]]}, b"\x00\xff\n\r\x1b"),
    ({"k": "log", "\u00e9 \U0001f52d": "\udc80"}, bytes(range(256))),
    ({"k": "beat"}, b""),
]
STREAM = b"".join(encode_message(header, payload) for header, payload in MESSAGES)
NO_NAN = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | NO_NAN | st.text(max_size=20),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=5), values, max_size=4),
    max_leaves=10,
)
HEADERS = st.dictionaries(st.text(max_size=10), JSON_VALUES, max_size=5).map(lambda fields: {**fields, "k": "log"})


def frame(head: bytes, payload: bytes = b"") -> bytes:
    """Make a frame with any header, right or wrong."""
    return struct.pack(">IH", 2 + len(head) + len(payload), len(head)) + head + payload


def messages_of(reader: FrameReader, pieces: list[bytes]) -> list[tuple[dict[str, Any], bytes]]:
    """Feed pieces and return everything that comes out."""
    return [message for piece in pieces for message in reader.feed(piece)]


def test_messages_fed_whole_come_out() -> None:
    """All messages in one piece of data come out in order."""
    assert FrameReader().feed(STREAM) == MESSAGES


def test_messages_fed_byte_by_byte_come_out() -> None:
    """A message comes out with its last byte and not before."""
    reader = FrameReader()

    assert messages_of(reader, [bytes([byte]) for byte in STREAM]) == MESSAGES
    assert reader.is_between_messages


@given(st.integers(0, len(STREAM)), st.integers(0, len(STREAM)))
def test_messages_fed_in_any_three_pieces_come_out(first: int, second: int) -> None:
    """It does not matter where the bytes are cut."""
    first, second = sorted((first, second))

    assert messages_of(FrameReader(), [STREAM[:first], STREAM[first:second], STREAM[second:]]) == MESSAGES


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: str(message[0]["k"]))
def test_junk_behind_a_message_is_an_error(message: tuple[dict[str, Any], bytes]) -> None:
    """A message comes out although junk follows, and the junk is refused."""
    reader = FrameReader()
    assert reader.feed(encode_message(*message)) == [message]

    with pytest.raises(FrameError):
        reader.feed(b"Segmentation fault (core dumped)\n")


def test_the_beginning_of_the_next_message_is_kept() -> None:
    """What follows a message and may be the next one waits for its rest."""
    reader = FrameReader()

    assert reader.feed(STREAM + STREAM[:7]) == MESSAGES
    assert not reader.is_between_messages
    assert reader.feed(STREAM[7:]) == MESSAGES


@given(HEADERS, st.binary(max_size=2000), st.data())
def test_what_is_encoded_is_read_again(header: dict[str, Any], payload: bytes, data: st.DataObject) -> None:
    """Any header of JSON values and any payload survive, cut anywhere."""
    stream = encode_message(header, payload)
    cut = data.draw(st.integers(0, len(stream)))

    assert messages_of(FrameReader(), [stream[:cut], stream[cut:]]) == [(header, payload)]


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(MAX_FRAME_BYTES - (66 << 10), 3 * MAX_FRAME_BYTES), st.integers(1000, 300_000))
def test_large_payloads_travel_in_parts(size: int, piece_bytes: int) -> None:
    """A payload of up to several MiB comes out whole, and no frame is over its limit."""
    payload = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    stream = encode_message({"k": "run"}, payload)
    pieces = [stream[i : i + piece_bytes] for i in range(0, len(stream), piece_bytes)]

    assert messages_of(FrameReader(), pieces) == [({"k": "run"}, payload)]
    assert max(frame_lengths(stream)) <= MAX_FRAME_BYTES


def frame_lengths(stream: bytes) -> list[int]:
    """Return the length field of each frame."""
    lengths, position = [], 0
    while position < len(stream):
        lengths.append(struct.unpack_from(">I", stream, position)[0])
        position += 4 + lengths[-1]
    return lengths


def test_messages_in_parts_follow_each_other() -> None:
    """The parts of one message do not get into the next."""
    large = b"x" * (MAX_FRAME_BYTES + 1)
    messages = [({"k": "run", "job": 1}, large), ({"k": "beat"}, b""), ({"k": "run", "job": 2}, large)]

    assert FrameReader().feed(b"".join(encode_message(*message) for message in messages)) == messages


def test_an_unfinished_message_in_parts_is_held() -> None:
    """Between its parts a message is not complete, although no byte of a frame waits."""
    reader = FrameReader()

    assert reader.feed(frame(b'{"k":"part"}', b"beginning")) == []
    assert not reader.is_between_messages


@pytest.mark.parametrize(
    ("stream", "complaint"),
    [
        (struct.pack(">IH", 0, 0), "frame length 0 "),
        (struct.pack(">IH", 3, 1), "frame length 3 "),
        (struct.pack(">IH", 2, 0) + b"{}", "frame length 2 "),
        (struct.pack(">IH", 10, 9), "frame length 10 with header length 9"),
        (struct.pack(">IH", MAX_FRAME_BYTES + 1, 20), f"frame length {MAX_FRAME_BYTES + 1}"),
        (b"\xff" * 6, "frame length 4294967295"),
        (b"Welcome to lce001!\n", "frame length 1466264675"),
        (frame(b"not JSON"), "header is not JSON: b'not JSON'"),
        (frame(b'{"k": "x"'), "header is not JSON"),
        (frame(b'{"k": "\xff"}'), "header is not JSON"),
        (frame(b"[" * 60_000), "header is not JSON"),
        (frame(b'{"k":' * 10_000), "header is not JSON"),
        (frame(b"[1, 2]"), "without a kind"),
        (frame(b'"k"'), "without a kind"),
        (frame(b"null"), "without a kind"),
        (frame(b"{}"), "without a kind"),
        (frame(b'{"k": 5}'), "without a kind"),
        (frame(b'{"k": null}'), "without a kind"),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, str) else "",
)
def test_what_is_no_frame_is_refused_for_ever(stream: bytes, complaint: str) -> None:
    """The first wrong byte is an error, and every later call raises the same one."""
    reader = FrameReader()
    with pytest.raises(FrameError, match=complaint) as first:
        reader.feed(stream)

    for data in (STREAM, b""):
        with pytest.raises(FrameError) as later:
            reader.feed(data)
        assert str(later.value) == str(first.value)


def test_a_wrong_length_is_refused_before_the_frame_is_there() -> None:
    """A length over the limit is an error at once: nothing is collected for it."""
    with pytest.raises(FrameError):
        messages_of(FrameReader(), [bytes([byte]) for byte in b"\x7f\xff\xff\xff\x00\x02"])


def test_the_largest_frame_is_accepted() -> None:
    """A frame of exactly the limit is a frame."""
    head = b'{"k":"x"}'
    payload = b"x" * (MAX_FRAME_BYTES - 2 - len(head))

    assert FrameReader().feed(frame(head, payload)) == [({"k": "x"}, payload)]


@pytest.mark.parametrize("n_parts", [1, 3])
def test_a_message_over_the_readers_limit_is_refused(n_parts: int) -> None:
    """The payloads of a message with all its parts count together."""
    reader = FrameReader(max_message_bytes=30)
    reader.feed(frame(b'{"k":"part"}', b"x" * (30 // n_parts)) * n_parts)

    with pytest.raises(FrameError, match="message of more than 30 bytes"):
        reader.feed(frame(b'{"k":"x"}', b"x"))


def test_each_message_has_the_readers_limit_to_itself() -> None:
    """Many messages below the limit may together be above it."""
    stream = frame(b'{"k":"part"}', b"x" * 20) + frame(b'{"k":"x"}', b"x" * 10)

    assert FrameReader(max_message_bytes=30).feed(stream * 3) == [({"k": "x"}, b"x" * 30)] * 3


def test_parts_without_payload_take_no_memory() -> None:
    """Part frames that bring nothing can come for ever without being collected."""
    reader = FrameReader()
    reader.feed(frame(b'{"k":"part"}') * 10_000)

    assert reader.is_between_messages
    assert reader.feed(frame(b'{"k":"x"}')) == [({"k": "x"}, b"")]


@pytest.mark.parametrize(
    ("header", "size"), [({"k": "x" * 70_000}, 0), ({"k": "x"}, MAX_FRAME_BYTES)], ids=["header", "payload"]
)
def test_a_frame_over_its_limits_is_not_made(header: dict[str, Any], size: int) -> None:
    """The writer refuses what no reader would take."""
    with pytest.raises(FrameError, match="at most 1048576 and 65535"):
        encode_frame(header, bytes(size))


def test_a_message_over_its_limit_is_not_made() -> None:
    """A payload of more than 64 MiB is refused before anything is copied."""
    with pytest.raises(FrameError, match=f"message of {MAX_MESSAGE_BYTES + 1} bytes"):
        encode_message({"k": "x"}, bytes(MAX_MESSAGE_BYTES + 1))


_ELSEWHERE = """
import json, sys
from pipeline.errors import FrameError
from pipeline.formats.frames import FrameReader, encode_message
large = b"x" * 3000000
stream = encode_message({"k": "run", "a": [1, "\\udc80"]}, large)
print(FrameReader().feed(stream) == [({"k": "run", "a": [1, "\\udc80"]}, large)])
try:
    FrameReader().feed(b"\\0\\0\\xea\\x62\\xea\\x60" + b"[" * 60000)
except FrameError:
    print("refused")
sys.stdout.flush()
sys.stdout.buffer.write(stream)
"""


@pytest.mark.parametrize("version", find_pythons())
def test_frames_are_the_same_on_every_python(version: str) -> None:
    """A host's Python, 3.8 or later, reads what it wrote, refuses what it must, and we read it too."""
    words = [find_pythons()[version], "-E", "-s", "-S", "-W", "error", "-c", _ELSEWHERE]
    root = str(Path(pipeline.__file__).parent.parent)

    done = subprocess.run(words, cwd=root, capture_output=True, timeout=60)

    assert done.stdout[:13] == b"True\nrefused\n", done.stderr.decode()
    assert [(h["k"], len(payload)) for h, payload in FrameReader().feed(done.stdout[13:])] == [("run", 3_000_000)]


def test_headers_are_plain_ascii_json() -> None:
    """What travels is readable by any JSON reader, whatever the header holds."""
    stream = encode_frame({"k": "log", "name": "\u00e9\udc80"}, b"payload")
    length, head_length = struct.unpack_from(">IH", stream)

    assert json.loads(stream[6 : 6 + head_length].decode("ascii")) == {"k": "log", "name": "\u00e9\udc80"}
    assert len(stream) == 4 + length
