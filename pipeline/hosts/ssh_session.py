"""A `Session` over a paramiko channel."""

import select
import threading
import time

import paramiko

from pipeline.errors import HostError
from pipeline.hosts.connections import Deadline, Link, connect
from pipeline.hosts.routes import find_route
from pipeline.hosts.ssh_errors import to_host_error
from pipeline.hosts.verdicts import connection_closed, one_line
from pipeline.model.hosts import Login
from pipeline.model.parameters import Parameters

__all__ = ["start_session"]

TAIL_BYTES = 2048
_CHUNK_BYTES = 1 << 16
# The channel's only timeout, since it counts for both directions: one turn of the loop that writes.
_TURN_S = 0.2
_THREAD_END_S = 1.0
_AT_ONCE_BYTES = 4096


def start_session(host: str, command: str, login: Login, parameters: Parameters) -> "SshSession":
    """
    Log in and start `command` by the login shell of `host`.

    Raises:
        HostError: The verdict; nothing is left open.
    """
    link = Link(host, find_route(host, login), parameters)
    try:
        transport = connect(link)
        channel = _start(link, transport, command)
    except BaseException:
        link.close()
        raise
    return SshSession(link, channel)


def _start(link: Link, transport: paramiko.Transport, command: str) -> paramiko.Channel:
    try:
        with Deadline(link, link.parameters.login_timeout):
            channel = transport.open_session(link.parameters.host_queue_bytes, timeout=link.parameters.login_timeout)
            # No pty: it would merge stderr into stdout. The agent's lease ends the jobs instead.
            channel.exec_command(command)
    except Exception as error:  # paramiko raises what it likes
        raise to_host_error(error, link.host, link.route, link.parameters) from error
    channel.settimeout(_TURN_S)
    return channel


class _Arrival:
    """
    What paramiko sets when something has arrived. It is cleared by the reader alone, before it looks.

    Not `Channel.fileno()`: that pipe serves two buffers under two locks and now and then loses a wake-up.
    """

    def __init__(self) -> None:
        self.event = threading.Event()

    def set(self) -> None:
        self.event.set()

    def clear(self) -> None:
        """Ignore paramiko's view of it."""


class SshSession:
    """One command on one host."""

    def __init__(self, link: Link, channel: paramiko.Channel) -> None:
        """Take over link and channel; `close()` closes both."""
        self.host = link.host
        self._link = link
        self._channel = channel
        self._closing = threading.Lock()
        self._noting = threading.Lock()
        self._is_closed = False
        self._tail = b""
        self._arrival = _Arrival()
        for buffer in (channel.in_buffer, channel.in_stderr_buffer):
            buffer.set_event(self._arrival)  # type: ignore[arg-type]  # asks for set() and clear(), no more

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """See `Session`."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._arrival.event.clear()
            self._check_open()
            self._note_stderr()
            if self._channel.recv_ready():
                return self._receive(max_bytes)
            if self._channel.eof_received or self._channel.closed:
                return self._end(max_bytes)
            if not self._arrival.event.wait(deadline_s - time.monotonic()):
                raise TimeoutError(f"{self.host}: nothing moved in time")

    def write(self, data: bytes, timeout_s: float) -> None:
        """See `Session`."""
        left = memoryview(data)
        deadline_s = time.monotonic() + timeout_s
        while left:
            self._check_open()
            self._await_socket(deadline_s)
            try:
                sent = self._channel.send(left[: 1 << 15].tobytes())
            except TimeoutError:
                self._note_stderr()
                if time.monotonic() >= deadline_s:
                    raise TimeoutError(f"{self.host}: nothing moved in time") from None
                continue
            except (OSError, EOFError, paramiko.SSHException) as error:
                raise self._broken(error) from error
            if not sent:
                raise self._broken(None)
            left = left[sent:]
            deadline_s = time.monotonic() + timeout_s

    def write_now(self, data: bytes) -> int:
        """See `Session`."""
        # What goes through a jump host may be held up there, and a packet cannot be taken back halfway.
        if self._is_closed or self._link.route.jumps:
            return 0
        self._link.hasty_thread = threading.get_ident()
        try:
            if not self._channel.send_ready():
                return 0
            self._await_socket(0.0)
            return self._channel.send(data[:_AT_ONCE_BYTES])  # a larger packet may not fit into the socket's buffer
        except (OSError, EOFError, paramiko.SSHException):  # also when the socket is full, or keys are exchanged
            return 0
        finally:
            self._link.hasty_thread = None

    def close_input(self) -> None:
        """See `Session`."""
        try:
            self._channel.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException):
            self._link.cut()  # broken: reading tells

    def close(self) -> None:
        """See `Session`."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            # First the socket: a thread that waits for the network returns, and so does paramiko's own.
            self._link.cut()
            if self._link.transport is not None:
                self._link.transport.join(_THREAD_END_S)
            self._link.close()
            self._arrival.set()

    def last_words(self) -> str:
        """See `Session`."""
        self._note_stderr()
        return one_line(self._tail.decode("utf-8", "replace"))

    def _check_open(self) -> None:
        if self._is_closed:
            raise HostError(self.host, "the session has been closed")

    def _receive(self, max_bytes: int) -> bytes:
        try:
            return self._channel.recv(max_bytes)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._broken(error) from error

    def _end(self, max_bytes: int) -> bytes:
        """The channel ended: what is left, then b"" if the program ended it, an error if the connection broke."""
        if self._channel.recv_ready():  # came between the look for data and the look for the end
            return self._receive(max_bytes)
        self._check_open()
        self._note_stderr()
        transport = self._link.transport
        if not self._channel.eof_received and (transport is None or not transport.is_active()):
            raise self._broken(transport.get_exception() if transport is not None else None)
        return b""

    def _broken(self, error: Exception | None) -> HostError:
        self._check_open()
        words = self.last_words()
        if words or error is None:
            return connection_closed(self.host, words)
        return connection_closed(self.host, str(error))

    def _note_stderr(self) -> None:
        """Keep the end of what has arrived on stderr; both streams share one window, a full one stops the program."""
        with self._noting:
            while self._channel.recv_stderr_ready():
                try:
                    data = self._channel.recv_stderr(_CHUNK_BYTES)
                except (OSError, EOFError, paramiko.SSHException):
                    return  # broken: reading tells
                self._tail = (self._tail + data)[-TAIL_BYTES:]

    def _await_socket(self, deadline_s: float) -> None:
        """Wait until the network takes data: inside paramiko that wait would have no end."""
        number = self._link.socket.fileno() if self._link.socket is not None else -1
        if number < 0:
            return  # closed meanwhile: sending tells
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        if not poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
            raise TimeoutError(f"{self.host}: nothing moved in time")
