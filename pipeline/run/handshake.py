"""The first seconds of a session: from a started command to an agent that has said hello."""

import os
import time
from dataclasses import dataclass

from pipeline.errors import AgentError, FrameError
from pipeline.formats.frames import FrameReader, Header
from pipeline.hosts.session import Session
from pipeline.run.bundle import NO_PYTHON, READY, start_message
from pipeline.run.reach import Reach

__all__ = ["Greeting", "greet"]

_READ_BYTES = 64 << 10
_MAX_NOISE_BYTES = 1 << 20
# A host can say anything: neither the store nor arithmetic must meet numbers that they cannot hold.
_MAX_CORES = 1 << 20
_MAX_TIME_S = 1e12


@dataclass(frozen=True, slots=True)
class Greeting:
    """
    An agent that answered.

    Attributes:
        hello: Its hello, as in `node/guardian.py`.
        reader: Has read no further than the hello.
        rest: Messages that came in right behind it.
    """

    hello: Header
    reader: FrameReader
    rest: list[tuple[Header, bytes]]


class _Opening:
    """Reads up to a mark within a deadline; keeps what stood before it for the verdict."""

    def __init__(self, host: str, session: Session, timeout_s: float, python: str | None) -> None:
        self._host = host
        self._python = python
        self._session = session
        self._timeout_s = timeout_s
        self._deadline_s = time.monotonic() + timeout_s
        self._received = bytearray()

    def read_past(self, mark: bytes, waiting_for: str) -> None:
        """Drop everything up to and with `mark`."""
        while mark not in self._received:
            if NO_PYTHON + b":" in self._received and b"\n" in self._received.partition(NO_PYTHON)[2]:
                raise self._no_python()
            if len(self._received) > _MAX_NOISE_BYTES:
                raise self._error(f"{_MAX_NOISE_BYTES >> 20} MiB of output instead of {waiting_for}")
            self._received += self.read(waiting_for)
        del self._received[: self._received.index(mark) + len(mark)]

    def take(self) -> bytes:
        """Return what stands behind the mark."""
        rest = bytes(self._received)
        self._received.clear()
        return rest

    def read(self, waiting_for: str) -> bytes:
        """Return the next bytes, or raise with what is known of the failure."""
        left_s = self._deadline_s - time.monotonic()
        try:
            data = self._session.read(_READ_BYTES, max(left_s, 0.001))
        except TimeoutError:
            what = f"waited {self._timeout_s:.0f} s for {waiting_for}; does a login script wait or hang there?"
            raise self._error(what) from None
        if not data:
            raise self._error(f"the session ended before {waiting_for}")
        return data

    def _no_python(self) -> AgentError:
        too_old = self._received.partition(NO_PYTHON + b":")[2].partition(b"\n")[0].decode(errors="replace").split()
        if too_old and self._python:  # the only one tried; there may be blanks in it
            too_old = [self._python]
        found = f"older than 3.8: {', '.join(too_old)}" if too_old else "no Python found"
        advice = "install Python 3.8 or later there or name one in [deploy] python"
        return AgentError(self._host, f"{found}; {advice}", is_permanent=True)

    def _error(self, what: str) -> AgentError:
        printed = " ".join(bytes(self._received[-200:]).decode(errors="replace").split())
        words = [f"the host says: {last}"] if (last := self._session.last_words()) else []
        words += [f"it printed: {printed!r}"] if printed else []
        return AgentError(self._host, "; ".join([what, *words]), is_permanent=True)


def greet(host: str, session: Session, reach: Reach) -> Greeting:
    """
    Give the interpreter on the host its program and wait for the agent's hello.

    Raises:
        HostError: The verdict, within the hello timeout.
    """
    opening = _Opening(host, session, reach.parameters.hello_timeout, reach.python)
    token = os.urandom(16).hex()
    opening.read_past(READY + b"\n", "the start of Python")
    try:
        session.write(start_message(reach.setup(host, token)), reach.parameters.hello_timeout)
    except TimeoutError:
        raise AgentError(host, "the host takes no data; is its disk or memory full?") from None
    opening.read_past(b"\n" + token.encode() + b"\n", "the agent's hello")
    reader = FrameReader()
    data = opening.take()
    try:
        while not (messages := reader.feed(data)):
            data = opening.read("the agent's hello")
    except FrameError as error:
        raise AgentError(host, f"broken protocol: {error}", is_permanent=True) from None
    hello = messages[0][0]
    if hello["k"] != "hello" or hello.get("token") != token or not _is_complete(hello):
        raise AgentError(
            host, f"broken protocol: expected the agent's hello, got {str(hello)[:80]!r}", is_permanent=True
        )
    return Greeting(hello, reader, messages[1:])


def _is_complete(hello: Header) -> bool:
    cores, python, time_s = hello.get("cores"), hello.get("python"), hello.get("time")
    is_number = isinstance(time_s, int | float) and abs(time_s) < _MAX_TIME_S  # not so of NaN
    return isinstance(cores, int) and 0 < cores <= _MAX_CORES and isinstance(python, str) and is_number
