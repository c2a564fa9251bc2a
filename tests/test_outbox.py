"""What an agent has to say: in order, numbered, and in as few pieces as can be."""

import os
from collections.abc import Iterator

import pytest

from pipeline.formats.frames import FrameReader
from pipeline.node.outbox import Outbox


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe, read and write."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def written(outbox: Outbox, descriptor: int) -> list[tuple[str, int]]:
    """Write all and return kind and number of every frame."""
    outbox.write()
    return [(header["k"], header["seq"]) for header, _ in FrameReader().feed(os.read(descriptor, 1 << 16))]


def test_a_quick_job_is_told_of_in_one_go(pipe: tuple[int, int]) -> None:
    """Start and output wait for the result; then all go out, numbered in the order they happened."""
    outbox = Outbox(pipe[1], 1 << 16)

    outbox.gather_start({"k": "start", "job": 1, "attempt": 1, "pid": 7})
    outbox.gather(1, 1, "out", b"line\n")
    assert (outbox.has_batch, outbox.has_frames) == (True, False)
    outbox.say({"k": "result", "job": 1, "attempt": 1})

    assert written(outbox, pipe[0]) == [("start", 1), ("output", 2), ("result", 3)]


def test_the_start_of_a_long_job_goes_out_with_the_next_flush(pipe: tuple[int, int]) -> None:
    """A start alone is a batch: the agent flushes it after its interval, before what other jobs wrote."""
    outbox = Outbox(pipe[1], 1 << 16)

    outbox.gather(1, 1, "out", b"line\n")
    outbox.gather_start({"k": "start", "job": 2, "attempt": 1, "pid": 8})
    outbox.flush()

    assert written(outbox, pipe[0]) == [("start", 1), ("output", 2)]
    assert not outbox.has_batch
