"""What goes to a host, over a real pipe and real SSH: whole frames, in order, however slowly they are taken."""

import threading
from collections.abc import Callable, Iterator

import pytest
from harness import WAIT_S, eventually

from pipeline.formats.frames import FrameReader, Header, encode_frame
from pipeline.hosts import local, ssh
from pipeline.hosts.session import Session
from pipeline.model.hosts import Login
from pipeline.model.parameters import Parameters
from pipeline.run.sender import Sender


@pytest.fixture
def start() -> Iterator[Callable[..., Session]]:
    """Start programs on this machine that are ended with the test."""
    sessions: list[Session] = []

    def start(*command: str) -> Session:
        sessions.append(local.open_session("localhost", command, Login(), Parameters()))
        return sessions[-1]

    yield start
    for session in sessions:
        session.close()


@pytest.fixture(params=["local", "ssh"])
def echo(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A host that sends back what it gets; only the session over SSH would let two threads write in turn."""
    if request.param == "local":
        session = local.open_session("localhost", ["cat"], Login(), Parameters())
    else:
        session = ssh.open_session("node1", ["cat"], request.getfixturevalue("ssh_pair").login(), Parameters())
    yield session
    session.close()


def read_frames(session: Session, count: int) -> list[tuple[Header, bytes]]:
    """Read so many frames."""
    reader, frames = FrameReader(), []
    while len(frames) < count:
        frames += reader.feed(session.read(1 << 16, WAIT_S))
    return frames


def test_frames_of_several_threads_arrive_whole_and_each_in_order(echo: Session) -> None:
    """16 MB of two threads, far more than a pipe holds at once, arrive unharmed though nobody reads at first."""
    sender = Sender(echo.host, echo, 60.0, WAIT_S)

    def send(name: str) -> None:
        for number in range(200):
            sender.send(encode_frame({"k": name, "n": number}, bytes([number]) * (number % 5 * 20_000)))

    threads = [threading.Thread(target=send, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)  # never held up by the host
    frames = read_frames(echo, 400)
    sender.close()

    for name in ("a", "b"):
        mine = [(header["n"], payload) for header, payload in frames if header["k"] == name]
        assert mine == [(number, bytes([number]) * (number % 5 * 20_000)) for number in range(200)]


def test_a_host_hears_from_us_when_there_is_nothing_to_say(start: Callable[..., Session]) -> None:
    """Signs of life are sent at their interval."""
    session = start("cat")
    sender = Sender("localhost", session, 0.02, WAIT_S)

    assert [header["k"] for header, _ in read_frames(session, 3)] == ["beat"] * 3
    sender.close()


def test_a_host_that_takes_nothing_is_given_up(start: Callable[..., Session]) -> None:
    """When nothing moves for the time given the session is closed, and the sender says why."""
    session = start("sleep", "60")
    sender = Sender("localhost", session, 60.0, 0.3)

    sender.send(bytes(1 << 20))

    eventually(lambda: sender.why_closed)
    assert sender.why_closed == "takes no data for 0 s"
    assert session.write_now(b"more") == 0
