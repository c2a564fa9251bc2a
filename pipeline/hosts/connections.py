"""From a route to a logged-in paramiko transport, over jump hosts and proxy commands if need be."""

import socket
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from itertools import pairwise
from typing import Any

import paramiko
from paramiko.ssh_exception import ChannelException

from pipeline.errors import HostError, LoginRefused
from pipeline.hosts import verdicts
from pipeline.hosts.logins import HostKeyCheck, OfferedKeys
from pipeline.hosts.routes import Route
from pipeline.hosts.ssh_errors import to_host_error
from pipeline.model.parameters import Parameters

__all__ = ["Deadline", "Link", "connect"]

_PEEK_BYTES = 4096
_PEEK_WAIT_S = 0.02
_PROXY_END_S = 1.0


class Link:
    """
    A logged-in transport and all it rests on.

    Attributes:
        transport: To the host.
        socket: What carries the bytes away from here; shutting it down ends all blocking calls.
        hasty_thread: The one that does not wait for an exchange of keys when it sends, if any.
    """

    def __init__(self, host: str, route: Route, parameters: Parameters) -> None:
        """Connect nothing yet."""
        self.host = host
        self.route = route
        self.parameters = parameters
        self.transport: paramiko.Transport | None = None
        self.socket: socket.socket | None = None
        self.hasty_thread: int | None = None
        self._stack = ExitStack()

    def push(self, close: Any, *arguments: object) -> None:
        """Have `close(*arguments)` called at the end, last first."""
        self._stack.callback(close, *arguments)

    def close(self) -> None:
        """End everything; safe to call twice."""
        self.cut()
        self._stack.close()

    def cut(self) -> None:
        """Make everything that waits for the network return at once; safe from any thread."""
        if self.socket is not None:
            with suppress(OSError):  # not connected any more
                self.socket.shutdown(socket.SHUT_RDWR)


class Deadline:
    """
    Cuts a link when the block takes longer than `timeout_s`: paramiko waits without limit in places.

    Attributes:
        is_over: It did.
    """

    def __init__(self, link: Link, timeout_s: float) -> None:
        """Start nothing yet."""
        self.is_over = False
        self._link = link
        self._timer = threading.Timer(timeout_s, self._end)
        self._timer.daemon = True

    def __enter__(self) -> "Deadline":
        """Start the clock."""
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop it."""
        self._timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        self._link.cut()


class _Transport(paramiko.Transport):
    """Lets one thread do without what all others get: up to 30 s for an exchange of keys that holds them up."""

    def __init__(self, link: Link, sock: Any, **options: Any) -> None:
        self._link = link
        super().__init__(sock, **options)

    @property
    def clear_to_send_timeout(self) -> float:
        # Paramiko looks at it after each 0.1 s that it has waited.
        return 0.0 if self._link.hasty_thread == threading.get_ident() else self._patience_s

    @clear_to_send_timeout.setter
    def clear_to_send_timeout(self, timeout_s: float) -> None:
        self._patience_s = timeout_s


class _Tunnel:
    """A channel as the socket of a further connection; when the one below has broken, closing it is no error."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def close(self) -> None:
        # Channel.close() tells the other side, and raises in paramiko's own thread if there is none any more.
        with suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.close()


def connect(link: Link) -> paramiko.Transport:
    """
    Connect and log in along the link's route.

    Raises:
        HostError: The verdict; what has been opened must be closed by `link.close()`.
    """
    hops = _hops(link.route)
    stream: socket.socket | _Tunnel = _open_stream(link, hops[0])
    for hop, after in pairwise(hops):
        stream = _open_tunnel(link, _connect_hop(link, hop, stream), after)
    link.transport = _connect_hop(link, link.route, stream)
    return link.transport


def _hops(route: Route) -> list[Route]:
    """All sshds on the way, the nearest first; a jump host knows those before it."""
    return [*(_hops(route.jumps[-1]) if route.jumps else ()), route]


def _open_stream(link: Link, hop: Route) -> socket.socket:
    try:
        stream = _run_proxy_command(link, hop) if hop.proxy_command else _connect_tcp(link, hop)
        _await_banner(link.host, stream, link.parameters.banner_timeout)
    except (HostError, OSError, ValueError) as error:  # ValueError: what a name becomes that IDNA cannot encode
        raise _through(hop, link, to_host_error(error, link.host, hop, link.parameters)) from error
    return stream


def _connect_hop(link: Link, hop: Route, stream: socket.socket | _Tunnel) -> paramiko.Transport:
    parameters = link.parameters
    limit_s = parameters.banner_timeout + parameters.login_timeout
    deadline = Deadline(link, limit_s)
    try:
        with deadline:
            return _log_in(link, hop, stream)
    except Exception as error:  # paramiko raises what it likes, a bare Exception in places
        if deadline.is_over:
            raise _through(hop, link, verdicts.no_answer_to_login(link.host, limit_s)) from error
        raise _through(hop, link, to_host_error(error, link.host, hop, parameters)) from error


def _through(hop: Route, link: Link, error: HostError) -> HostError:
    """Name the jump host in a verdict that is about it."""
    if hop is link.route:
        return error
    reason = f"jump host {hop.name}: {error.reason}"
    if isinstance(error, LoginRefused):
        return type(error)(link.host, reason)
    return HostError(link.host, reason, is_permanent=error.is_permanent)


def _log_in(link: Link, hop: Route, stream: socket.socket | _Tunnel) -> paramiko.Transport:
    check = HostKeyCheck(link.host, hop)
    keys = OfferedKeys(hop)
    parameters = link.parameters
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(check)
    link.push(client.close)
    client.connect(
        hop.known_as,
        username=hop.user,
        sock=stream,  # type: ignore[arg-type]  # a tunnel does what a channel does
        timeout=parameters.login_timeout,
        banner_timeout=parameters.banner_timeout,
        auth_timeout=parameters.login_timeout,
        channel_timeout=parameters.login_timeout,
        auth_strategy=keys,
        transport_factory=lambda sock, **options: _make_transport(link, check, sock, options),
    )
    transport = client.get_transport()
    if transport is None or not transport.is_authenticated():
        raise verdicts.login_refused(link.host, hop.user, keys.tried, "it wants more than a key")
    return transport


def _make_transport(link: Link, check: HostKeyCheck, sock: Any, options: dict[str, Any]) -> paramiko.Transport:
    transport = _Transport(link, sock, **options)
    kinds = check.kinds | ({"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in check.kinds else set())
    # A host may have keys of several types: ask for one that we know, or a good host would look like a stranger.
    security = transport.get_security_options()
    # One that needs no separate checksum costs half the time, where the host has it.
    security.ciphers = sorted(security.ciphers, key=lambda cipher: "gcm" not in cipher)
    security.key_types = sorted(security.key_types, key=lambda kind: kind not in kinds)
    return transport


def _open_tunnel(link: Link, transport: paramiko.Transport, to: Route) -> _Tunnel:
    limit_s = link.parameters.connect_timeout
    try:
        with Deadline(link, limit_s + link.parameters.login_timeout):
            address = (to.address, to.port)
            return _Tunnel(transport.open_channel("direct-tcpip", address, ("127.0.0.1", 0), timeout=limit_s))
    except Exception as error:  # as above
        problem = verdicts.one_line(error.text if isinstance(error, ChannelException) else str(error))
        reason = f"the jump host gives no connection to {to.address} port {to.port}: {problem}"
        raise _through(to, link, HostError(link.host, reason)) from error


def _connect_tcp(link: Link, hop: Route) -> socket.socket:
    connection = socket.create_connection((hop.address, hop.port), timeout=link.parameters.connect_timeout)
    link.push(connection.close)
    link.socket = connection
    # 47 ms per small message without it.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        limit_ms = int(link.parameters.tcp_user_timeout * 1000)
        with suppress(OSError):  # known to Python, not to this kernel
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)
    return connection


def _run_proxy_command(link: Link, hop: Route) -> socket.socket:
    # Not paramiko.ProxyCommand: it spins when the command has ended, and leaves a zombie and its pipes behind.
    ours, theirs = socket.socketpair()
    link.push(ours.close)
    link.socket = ours
    with theirs:
        try:
            process = subprocess.Popen(
                hop.proxy_command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            problem = f"ProxyCommand {hop.proxy_command[0]}: {error.strerror}"
            raise verdicts.bad_client_config(link.host, problem) from error
    link.push(_end_process, process)
    return ours


def _end_process(process: subprocess.Popen[bytes]) -> None:
    for end in (process.terminate, process.kill):
        end()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PROXY_END_S)
            return


def _await_banner(host: str, stream: socket.socket, timeout_s: float) -> None:
    """Wait for the banner and leave it there; paramiko would swallow junk for as long as it comes."""
    deadline_s = time.monotonic() + timeout_s
    data = _peek(stream, timeout_s)
    while data and b"SSH-" not in data and len(data) < _PEEK_BYTES and time.monotonic() < deadline_s:
        time.sleep(_PEEK_WAIT_S)  # other lines may come before it; poll() would return at once for what we have seen
        data = _peek(stream, timeout_s)
    if data is None:
        raise verdicts.no_banner(host, timeout_s)
    if not data:
        raise verdicts.connection_closed(host, "before the SSH banner")
    if b"SSH-" not in data:
        raise verdicts.not_ssh(host, data[:60].decode("utf-8", "replace"))


def _peek(stream: socket.socket, timeout_s: float) -> bytes | None:
    """Return what has arrived, b"" at the end, None if nothing comes in `timeout_s`."""
    stream.settimeout(timeout_s)
    try:
        return stream.recv(_PEEK_BYTES, socket.MSG_PEEK)
    except TimeoutError:
        return None
