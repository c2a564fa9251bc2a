"""One contract for every way to reach a host, then the verdict of each way on hosts that cannot be used."""

import base64
import errno
import hashlib
import hmac
import inspect
import os
import re
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import paramiko
import pytest
from harness import eventually
from paramiko import ssh_exception
from paramiko.auth_strategy import AuthFailure, AuthResult

from pipeline.errors import HostError, HostKeyError, HostNameError, LoginRefused
from pipeline.hosts import local, openssh, ssh
from pipeline.hosts.known_hosts import add_key, find_keys
from pipeline.hosts.routes import find_route
from pipeline.hosts.session import Session
from pipeline.hosts.ssh_errors import to_host_error
from pipeline.hosts.ssh_session import SshSession
from pipeline.model.hosts import Login
from pipeline.model.parameters import Parameters
from pipeline.testing import SshHosts, ssh_hosts
from pipeline.testing.sshd import make_key

SHORT = Parameters(connect_timeout=1.0, banner_timeout=1.0, login_timeout=8.0)
WAIT_S = 20.0
CLIENTS = {"ssh": ssh.open_session, "openssh": openssh.open_session}


@dataclass(frozen=True)
class Way:
    """One way to reach one host."""

    name: str
    open: Callable[..., Session]


@pytest.fixture(params=["local", "ssh", "openssh"])
def way(request: pytest.FixtureRequest) -> Way:
    """Each way with a host that works."""
    if request.param == "local":
        return Way("local", lambda command: local.open_session("localhost", command, Login(), SHORT))
    hosts: SshHosts = request.getfixturevalue("ssh_pair")
    if request.param == "openssh" and shutil.which("ssh") is None:
        pytest.skip("ssh is not installed (Debian: openssh-client)")
    client = CLIENTS[request.param]
    return Way(request.param, lambda command: client("node1", command, hosts.login(), Parameters()))


@pytest.fixture
def start(way: Way) -> Iterator[Callable[..., Session]]:
    """Start programs that are ended with the test."""
    sessions: list[Session] = []

    def start(*command: str) -> Session:
        sessions.append(way.open(command))
        return sessions[-1]

    yield start
    for session in sessions:
        session.close()


@pytest.fixture(params=sorted(CLIENTS))
def client(request: pytest.FixtureRequest) -> Callable[..., Session]:
    """Each SSH client's `open_session`."""
    if request.param == "openssh" and shutil.which("ssh") is None:
        pytest.skip("ssh is not installed (Debian: openssh-client)")
    return CLIENTS[request.param]


def read_exactly(session: Session, size: int) -> bytes:
    """Read `size` bytes or up to the end."""
    data = bytearray()
    while len(data) < size and (chunk := session.read(min(1 << 16, size - len(data)), WAIT_S)):
        data += chunk
    return bytes(data)


def read_all(session: Session) -> bytes:
    """Read up to the end."""
    return read_exactly(session, 1 << 40)


def answer_of(client: Callable[..., Session], host: str, login: Login, command: str = "echo here") -> str:
    """Run one command over a client and return what it prints."""
    session = client(host, ["sh", "-c", command], login, Parameters())
    try:
        return read_all(session).decode().strip()
    finally:
        session.close()


def verdict_of(client: Callable[..., Session], host: str, login: Login, parameters: Parameters = SHORT) -> HostError:
    """Return the error that a client gives for a host, whether at once or at the first read."""
    started_s = time.monotonic()
    with pytest.raises(HostError) as caught:  # noqa: PT012  # either line may raise
        session = client(host, ["echo", "here"], login, parameters)
        try:
            session.read(100, WAIT_S)
        finally:
            session.close()
    assert time.monotonic() - started_s < WAIT_S
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{host}: ")
    return caught.value


def write_config(directory: Path, *lines: str) -> Path:
    """Write an ssh_config in a folder whose name needs quotes, unless ssh itself cannot do with such a one."""
    # ssh puts the path into the shell command that it makes of a ProxyJump, without quotes.
    folder = directory / ("folder" if any("ProxyJump" in line for line in lines) else "it's a folder")
    folder.mkdir(exist_ok=True)
    (folder / "config").write_text("\n".join(lines) + "\n")
    return folder / "config"


# -- the contract --------------------------------------------------------------------------------


def test_five_megabytes_come_back_byte_for_byte(start: Callable[..., Session]) -> None:
    """What is written to a program that echoes is read again, every byte."""
    data = os.urandom(1 << 16) * 80
    session = start("cat")

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(session.write, data, WAIT_S)
        got = read_exactly(session, len(data))
        writing.result(WAIT_S)

    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def test_words_reach_the_program_exactly(start: Callable[..., Session]) -> None:
    """Blanks, quotes, newlines, dollars and globs in a word are not touched on the way."""
    words = ["a b", "it's", '"', "new\nline", "$HOME", "*", "\\", "", "ü", ";exit 3"]

    session = start("printf", "%s|", *words)

    assert read_all(session).decode() == "".join(f"{word}|" for word in words)


def test_reading_nothing_times_out(start: Callable[..., Session]) -> None:
    """A program that says nothing makes a read end after the time given, and can still be used."""
    session = start("cat")

    with pytest.raises(TimeoutError):
        session.read(1, 0.1)

    session.write(b"x", WAIT_S)
    assert session.read(10, WAIT_S) == b"x"


def test_the_end_of_output_is_an_empty_read_whatever_the_exit_status(start: Callable[..., Session]) -> None:
    """When a program has ended, reading gives its output and then b"", twice."""
    session = start("sh", "-c", "echo out; exit 7")

    assert read_all(session) == b"out\n"
    assert session.read(1, WAIT_S) == b""


def test_close_input_ends_the_input_and_keeps_the_output(start: Callable[..., Session]) -> None:
    """A program that reads to the end of its input answers after close_input."""
    session = start("sh", "-c", "cat >/dev/null; echo seen the end")

    session.write(b"x" * 100_000, WAIT_S)
    session.close_input()

    assert read_all(session) == b"seen the end\n"


def test_closing_twice_is_closing_once(start: Callable[..., Session]) -> None:
    """The second close does nothing, reading afterwards says that the session is closed."""
    session = start("cat")

    session.close()
    session.close()

    with pytest.raises(HostError, match="closed"):
        session.read(1, WAIT_S)


def test_closing_ends_a_read_in_another_thread(start: Callable[..., Session]) -> None:
    """A thread that waits for output gets an error as soon as another closes the session."""
    session = start("cat")
    is_reading = threading.Event()

    def read() -> bytes:
        is_reading.set()
        return session.read(1, 60.0)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        is_reading.wait(WAIT_S)
        session.close()

        with pytest.raises(HostError, match="closed"):
            reading.result(WAIT_S)


def test_a_flood_on_stderr_holds_nothing_up(start: Callable[..., Session]) -> None:
    """10 MB on stderr, read by nobody, do not keep the program from its output; their end is kept."""
    session = start("sh", "-c", "head -c 10000000 /dev/zero | tr '\\0' e >&2; echo >&2; echo the end >&2; echo out")

    assert read_all(session) == b"out\n"
    words = session.last_words()
    assert words.endswith("eee the end")
    assert len(words) < 2100


def test_last_words_are_one_line_without_control_characters(start: Callable[..., Session]) -> None:
    """The end of stderr comes as one line that a terminal shows as it is."""
    session = start("sh", "-c", "printf 'no such\\n\\033[31mfile\\a\\n' >&2")

    assert read_all(session) == b""
    assert session.last_words() == "no such [31mfile"


def test_writing_to_a_program_that_has_ended_fails_soon(start: Callable[..., Session]) -> None:
    """Once a program is gone, writing raises HostError, not later than its time limit."""
    session = start("true")
    assert read_all(session) == b""
    started_s = time.monotonic()

    def write_on() -> None:
        for _ in range(100):
            session.write(b"x" * 65536, 5.0)

    with pytest.raises(HostError):
        write_on()

    assert time.monotonic() - started_s < 10.0


def test_writing_to_a_program_that_does_not_read_times_out(start: Callable[..., Session]) -> None:
    """When all buffers on the way are full and nothing moves, writing ends after the time given."""
    session = start("sh", "-c", "echo up; exec sleep 60")
    assert session.read(10, WAIT_S) == b"up\n"

    with pytest.raises(TimeoutError):
        session.write(bytes(64 << 20), 0.5)


def test_what_goes_at_once_arrives(start: Callable[..., Session]) -> None:
    """`write_now` sends so many bytes as it says, and `write` goes on behind them."""
    session = start("cat")
    data = b"beginning and end\n"

    sent = session.write_now(data)
    session.write(data[sent:], WAIT_S)

    assert sent == len(data)
    assert read_exactly(session, len(data)) == data


def test_what_does_not_go_at_once_is_not_waited_for(start: Callable[..., Session]) -> None:
    """When all buffers on the way are full `write_now` takes nothing and returns."""
    session = start("sh", "-c", "echo up; exec sleep 60")
    assert session.read(10, WAIT_S) == b"up\n"
    with pytest.raises(TimeoutError):
        session.write(bytes(64 << 20), 0.5)
    started_s = time.monotonic()

    assert [session.write_now(b"more") for _ in range(100)] == [0] * 100

    assert time.monotonic() - started_s < 1.0


def test_an_exchange_of_keys_is_not_waited_for(ssh_pair: SshHosts) -> None:
    """`write_now` takes nothing while keys are exchanged with an sshd that does not answer, and returns."""
    session = ssh.open_session("node1", ["sh", "-c", "echo $PPID; exec cat"], ssh_pair.login(), Parameters())
    assert isinstance(session, SshSession)
    sshd = int(session.read(100, WAIT_S))
    os.kill(sshd, signal.SIGSTOP)
    try:
        transport = session._link.transport
        assert transport

        def exchange_keys() -> None:
            with suppress(OSError, EOFError, paramiko.SSHException):  # the session is closed under it
                transport.renegotiate_keys()

        exchange = threading.Thread(target=exchange_keys)
        exchange.start()
        eventually(lambda: not transport.clear_to_send.is_set())
        started_s = time.monotonic()

        assert session.write_now(b"more") == 0

        assert time.monotonic() - started_s < 5.0
    finally:
        os.kill(sshd, signal.SIGCONT)
        session.close()
    exchange.join(WAIT_S)


def test_nothing_goes_at_once_after_the_end(start: Callable[..., Session]) -> None:
    """`write_now` on a closed session takes nothing and raises nothing."""
    session = start("cat")
    session.close()

    assert session.write_now(b"more") == 0


def test_a_program_that_heeds_the_end_of_its_input_is_gone_after_close(start: Callable[..., Session]) -> None:
    """Closing the session ends the program on the host, by its pid."""
    session = start("sh", "-c", "echo $$; exec cat")
    pid = int(session.read(100, WAIT_S))
    program = os.pidfd_open(pid)
    try:
        session.close()

        poll = select.poll()
        poll.register(program, select.POLLIN)  # readable when the process has ended
        assert poll.poll(WAIT_S * 1000)
    finally:
        os.close(program)


def test_closing_leaves_no_descriptor_behind(way: Way) -> None:
    """Four sessions later as many files are open as after the first."""
    way.open(["true"]).close()
    before = set(os.listdir("/proc/self/fd"))

    for _ in range(4):
        way.open(["cat"]).close()

    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # the listing's own


def test_a_closed_local_session_kills_a_program_that_ignores_everything() -> None:
    """A program that heeds neither its input nor TERM is killed, in bounded time."""
    session = local.open_session("localhost", ["sh", "-c", "trap '' TERM; echo $$; sleep 60"], Login(), SHORT)
    pid = int(session.read(100, WAIT_S))

    session.close()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_program_that_is_not_there_is_a_permanent_error() -> None:
    """A local program that does not exist is named, and not tried again."""
    with pytest.raises(HostError, match=r"cannot start /no/such program: No such file") as caught:
        local.open_session("localhost", ["/no/such program"], Login(), SHORT)

    assert caught.value.is_permanent


def test_the_package_is_imported_without_paramiko() -> None:
    """Importing the ways to reach a host loads no SSH library."""
    code = (
        "import sys, pipeline.hosts.ssh, pipeline.hosts.openssh, pipeline.hosts.local; print('paramiko' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    got = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30)

    assert got.stdout == "False\n"


def test_what_only_match_exec_needs_is_not_loaded_before(tmp_path: Path) -> None:
    """The library with which paramiko runs commands of `Match exec` is loaded for such a configuration alone."""
    config = write_config(tmp_path, "Match exec true", "Port 77")
    code = (
        "import sys; from pipeline.hosts.ssh import address; from pipeline.model.hosts import Login; "
        "print(address('a', Login()), 'invoke.runners' in sys.modules); "
        "print(address('a', Login(ssh_config=sys.argv[1])), 'invoke.runners' in sys.modules)"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}

    words = [sys.executable, "-c", code, str(config)]
    got = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=30, check=True)

    assert got.stdout == "a:22 False\na:77 True\n"


# -- verdicts ------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that accepts connections as far as the kernel does it, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def login_to(tmp_path: Path) -> Callable[[socket.socket], Login]:
    """Make a login for a host called `bad` that leads to a listening socket."""

    def login_to(server: socket.socket) -> Login:
        port = server.getsockname()[1]
        return Login(ssh_config=str(write_config(tmp_path, "Host bad", "HostName 127.0.0.1", f"Port {port}")))

    return login_to


def test_an_unknown_name_is_permanent(client: Callable[..., Session], tmp_path: Path) -> None:
    """A name that has no address is said to have none; trying again is of no use."""
    login = Login(ssh_config=str(write_config(tmp_path, "Host bad", "HostName no-such-host.invalid")))

    error = verdict_of(client, "bad", login)

    # Without any name server the answer is that none answers, which may change.
    assert re.search(r"no address for the name 'no-such-host.invalid'|no name server answers", str(error))
    assert error.is_permanent == ("no address" in str(error))


def test_a_port_without_listener_is_refused(
    client: Callable[..., Session], listener: socket.socket, login_to: Callable[[socket.socket], Login]
) -> None:
    """A refused connection names address and port and may be tried again."""
    login, port = login_to(listener), listener.getsockname()[1]
    listener.close()

    error = verdict_of(client, "bad", login)

    assert f"connection refused by 127.0.0.1 port {port}" in str(error)
    assert not error.is_permanent


def test_silence_is_no_banner(
    client: Callable[..., Session], listener: socket.socket, login_to: Callable[[socket.socket], Login]
) -> None:
    """A host that accepts and says nothing is given up after the banner's time."""
    error = verdict_of(client, "bad", login_to(listener))

    assert str(error) == "bad: no SSH banner in 1 s"


@pytest.mark.parametrize("junk", [b"x" * 1000, b"220 mail.example.org ESMTP\r\n" * 40])
def test_endless_junk_is_no_ssh_server(
    client: Callable[..., Session], listener: socket.socket, login_to: Callable[[socket.socket], Login], junk: bytes
) -> None:
    """A service that talks without end, with lines or without, is told from an sshd in bounded time."""
    login = login_to(listener)

    def talk() -> None:
        with listener.accept()[0] as connection:
            connection.settimeout(WAIT_S)
            try:
                while True:
                    connection.sendall(junk)
            except OSError:
                return  # it has had enough

    with ThreadPoolExecutor(1) as pool:
        talking = pool.submit(talk)
        error = verdict_of(client, "bad", login)
        talking.result(WAIT_S)

    assert "no SSH server" in str(error)


def test_a_connection_closed_before_the_banner_is_said_to_be(
    client: Callable[..., Session], listener: socket.socket, login_to: Callable[[socket.socket], Login]
) -> None:
    """What an sshd over its MaxStartups does is told from silence, and may be tried again."""
    login = login_to(listener)

    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(lambda: listener.accept()[0].close())
        error = verdict_of(client, "bad", login)
        closing.result(WAIT_S)

    assert "connection closed" in str(error)
    assert not error.is_permanent


@pytest.mark.parametrize("words", ["Exceeded MaxStartups", "Not allowed at this time"])
def test_an_sshd_that_is_too_busy_is_no_stranger(
    listener: socket.socket, login_to: Callable[[socket.socket], Login], words: str
) -> None:
    """An sshd that says it takes no more connections for now is quoted, and may be tried again, with paramiko."""
    login = login_to(listener)

    def refuse() -> None:
        with listener.accept()[0] as connection:
            connection.sendall(words.encode() + b"\r\n")

    with ThreadPoolExecutor(1) as pool:
        refusing = pool.submit(refuse)
        error = verdict_of(ssh.open_session, "bad", login)
        refusing.result(WAIT_S)

    assert str(error).startswith(f"bad: sshd takes no connections now: '{words}'; lower connects_per_sshd")
    assert not error.is_permanent


def test_a_banner_and_then_silence_is_no_answer() -> None:
    """An sshd that stops after its banner is given up after the login's time, with paramiko."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:

        def greet() -> socket.socket:
            connection = server.accept()[0]
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            return connection

        greeting = pool.submit(greet)
        login = Login(ssh_config=os.devnull, port=server.getsockname()[1])
        error = verdict_of(ssh.open_session, "127.0.0.1", login, replace(SHORT, login_timeout=1.0))
        greeting.result(WAIT_S).close()

    assert "no answer to the login in 1 s" in str(error)


def test_an_unknown_host_key_is_refused(client: Callable[..., Session], ssh_pair: SshHosts, tmp_path: Path) -> None:
    """With `reject` a host of which no key is known is refused; the message names the file and a way out."""
    known_hosts = tmp_path / "known hosts"

    error = verdict_of(client, "node1", replace(ssh_pair.login(), known_hosts=str(known_hosts)))

    assert isinstance(error, HostKeyError)
    assert str(known_hosts) in str(error)
    assert "host_keys = accept-new" in str(error)
    assert not known_hosts.exists()


def test_accept_new_stores_the_key_of_a_new_host(
    client: Callable[..., Session], ssh_pair: SshHosts, tmp_path: Path
) -> None:
    """With `accept-new` the first connection stores the key, so that `reject` is content with the second."""
    known_hosts = tmp_path / "known hosts"
    login = replace(ssh_pair.login(), known_hosts=str(known_hosts), host_keys="accept-new")

    assert answer_of(client, "node1", login) == "here"

    assert known_hosts.read_text() == ssh_pair["node1"].known_hosts_line()
    assert answer_of(client, "node1", replace(login, host_keys="reject")) == "here"


@pytest.mark.parametrize("host_keys", ["reject", "accept-new"])
def test_a_changed_host_key_is_always_refused(
    client: Callable[..., Session], ssh_pair: SshHosts, tmp_path: Path, host_keys: str
) -> None:
    """A host that shows another key than the one known is refused, and the file is left alone."""
    known_hosts = tmp_path / "known_hosts"
    name = ssh_pair["node1"].known_hosts_line().split()[0]
    other_key = ssh_pair["node2"].known_hosts_line().split(maxsplit=1)[1]
    known_hosts.write_text(f"{name} {other_key}")
    login = replace(ssh_pair.login(), known_hosts=str(known_hosts), host_keys=host_keys)

    error = verdict_of(client, "node1", login)

    assert isinstance(error, HostKeyError)
    assert f"changed: it is not the one of {name} in {known_hosts}:1;" in str(error)
    assert known_hosts.read_text() == f"{name} {other_key}"


def test_a_key_the_host_does_not_know_is_refused(
    client: Callable[..., Session], ssh_pair: SshHosts, tmp_path: Path
) -> None:
    """A refused login names the user and says what to do; it is not tried again."""
    node = ssh_pair["node1"]
    config = write_config(tmp_path, "Host node1", f"HostName {node.address}", f"Port {node.port}", "IdentitiesOnly yes")
    login = Login(
        user=ssh_pair.user,
        key_filename=str(make_key(tmp_path / "wrong key")),
        ssh_config=str(config),
        known_hosts=str(ssh_pair.known_hosts),
    )

    error = verdict_of(client, "node1", login)

    assert type(error) is LoginRefused
    assert error.is_permanent
    assert f"login as {ssh_pair.user} refused" in str(error)
    assert "authorized_keys" in str(error)


def test_a_key_with_a_passphrase_is_named(ssh_pair: SshHosts, tmp_path: Path) -> None:
    """A key that paramiko cannot open is named with the reason."""
    key = make_key(tmp_path / "id")
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "a passphrase", "-f", str(key)]
    subprocess.run(change, check=True, timeout=30, capture_output=True)
    config = ssh_pair.ssh_config.read_text().replace(f'"{ssh_pair.key}"', f'"{key}"')
    login = replace(ssh_pair.login(), ssh_config=str(write_config(tmp_path, config)))

    error = verdict_of(ssh.open_session, "node1", login)

    assert f"{key} (has a passphrase and is not in ssh-agent)" in str(error)


def test_a_key_that_is_not_there_is_named(client: Callable[..., Session], ssh_pair: SshHosts, tmp_path: Path) -> None:
    """A key_filename that does not exist is a permanent error that names it."""
    missing = str(tmp_path / "no key")

    error = verdict_of(client, "node1", replace(ssh_pair.login(), key_filename=missing))

    assert f"key_filename {missing}: no such file" in str(error)
    assert error.is_permanent


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "$(x)", "a;b", "a b", "", "user@host", "a\nb"])
def test_a_name_that_cannot_be_a_hosts_starts_nothing(
    client: Callable[..., Session], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """A name that ssh would take for an option, or a shell for a command, is refused before any process starts."""
    witness = tmp_path / "started"
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\ntouch {shlex.quote(str(witness))}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(HostNameError):
        client(name, ["true"], Login(), SHORT)
    with pytest.raises(HostNameError):
        client("node1", ["true"], Login(user=name), SHORT)

    assert not witness.exists()


@pytest.mark.parametrize("line", ["HostName -oProxyCommand=x", "User $(x)", "Port many", "Port 0", "nonsense"])
def test_a_bad_ssh_config_is_named(client: Callable[..., Session], tmp_path: Path, line: str) -> None:
    """What ssh_config says and cannot be is a permanent error that names the file, or no connection at all."""
    config = write_config(tmp_path, "Host bad", f"    {line}", "    ProxyCommand false")

    error = verdict_of(client, "bad", Login(ssh_config=str(config)))

    if client is ssh.open_session:
        assert str(config) in str(error)
        assert error.is_permanent


def test_an_ssh_config_that_is_not_there_is_named(client: Callable[..., Session], tmp_path: Path) -> None:
    """A missing ssh_config is a permanent error that names it."""
    error = verdict_of(client, "node1", Login(ssh_config=str(tmp_path / "no config")))

    assert str(tmp_path / "no config") in str(error)
    assert error.is_permanent


def test_no_ssh_program_is_a_permanent_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an ssh client the message says what to install or set."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(HostError, match="install openssh-client or set ssh_client = paramiko") as caught:
        openssh.open_session("node1", ["true"], Login(), SHORT)

    assert caught.value.is_permanent


def test_a_dropped_connection_is_an_error_and_not_the_end(client: Callable[..., Session], ssh_pair: SshHosts) -> None:
    """When the connection breaks under a program, reading raises: its output has not ended."""
    session = client("node2", ["sh", "-c", "echo up; exec cat"], ssh_pair.login(), Parameters())
    try:
        assert session.read(10, WAIT_S) == b"up\n"

        ssh_pair["node2"].drop_connections()

        with pytest.raises(HostError, match="connection closed"):
            session.read(1, WAIT_S)
    finally:
        session.close()


def test_a_session_that_sshd_refuses_is_an_error(client: Callable[..., Session], ssh_pair: SshHosts) -> None:
    """An sshd without sessions to give is told from a refused login, and may be tried again."""
    with ssh_hosts(1, sshd_options={"MaxSessions": "0"}) as hosts:
        error = verdict_of(client, "node1", hosts.login())

    assert "MaxSessions" in str(error)
    assert type(error) is HostError


# -- the way there -------------------------------------------------------------------------------


def logins_at(hosts: SshHosts, name: str) -> int:
    """Count the logins in a host's log."""
    return hosts[name].sshd_log().count("Accepted publickey")


def test_a_jump_host_is_gone_through(client: Callable[..., Session], ssh_pair: SshHosts, tmp_path: Path) -> None:
    """With ProxyJump the connection logs in to the jump host with that one's own entry, then to the host."""
    node2 = ssh_pair["node2"]
    entry = [f"HostName {node2.address}", f"Port {node2.port}", f"User {ssh_pair.user}"]
    entry += [f'IdentityFile "{ssh_pair.key}"', f'UserKnownHostsFile "{ssh_pair.known_hosts}"']
    config = write_config(tmp_path, "Host far", *entry, "ProxyJump node1", ssh_pair.ssh_config.read_text())
    before = logins_at(ssh_pair, "node1")

    got = answer_of(client, "far", Login(ssh_config=str(config)), "echo $HOME")

    assert got == str(node2.home)
    assert logins_at(ssh_pair, "node1") == before + 1


def test_what_goes_through_a_jump_host_may_have_to_wait(ssh_pair: SshHosts, tmp_path: Path) -> None:
    """There `write_now` takes nothing: it could not tell whether the jump host holds it up."""
    node2 = ssh_pair["node2"]
    entry = [f"HostName {node2.address}", f"Port {node2.port}", f"User {ssh_pair.user}"]
    entry += [f'IdentityFile "{ssh_pair.key}"', f'UserKnownHostsFile "{ssh_pair.known_hosts}"']
    config = write_config(tmp_path, "Host far", *entry, "ProxyJump node1", ssh_pair.ssh_config.read_text())
    session = ssh.open_session("far", ["cat"], Login(ssh_config=str(config)), Parameters())
    try:
        assert session.write_now(b"more") == 0
        session.write(b"more", WAIT_S)
        assert read_exactly(session, 4) == b"more"
    finally:
        session.close()


def test_a_chain_of_jump_hosts_is_gone_through(
    client: Callable[..., Session], ssh_pair: SshHosts, tmp_path: Path
) -> None:
    """`ProxyJump a,b` leads through a and b, in this order, to the host."""
    node1 = ssh_pair["node1"]
    entry = [f"HostName {node1.address}", f"Port {node1.port}", f"IdentityFile {ssh_pair.key}"]
    entry += [f"UserKnownHostsFile {ssh_pair.known_hosts}", f"User {ssh_pair.user}", "ProxyJump node1,node2"]
    config = write_config(tmp_path, "Host far", *entry, ssh_pair.ssh_config.read_text())
    before = logins_at(ssh_pair, "node1"), logins_at(ssh_pair, "node2")

    got = answer_of(client, "far", Login(ssh_config=str(config)), "echo $HOME")

    assert got == str(node1.home)
    assert (logins_at(ssh_pair, "node1"), logins_at(ssh_pair, "node2")) == (before[0] + 2, before[1] + 1)


@pytest.mark.parametrize("way", [ssh, openssh], ids=["ssh", "openssh"])
@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("direct", "127.0.0.5:22"),
        ("far", "127.0.0.1:2201"),
        ("chained", "127.0.0.1:2201"),
        ("farther", "127.0.0.1:2201"),
        ("spelt", "127.0.0.7:2207"),
    ],
)
def test_the_address_of_a_host_is_that_of_the_first_sshd_on_the_way(
    way: ModuleType, tmp_path: Path, host: str, address: str
) -> None:
    """Hosts behind one jump host share its address, for its sshd sees all connects first; `port` is not its."""
    if way is openssh and shutil.which("ssh") is None:
        pytest.skip("ssh is not installed (Debian: openssh-client)")
    entries = ["Host direct", "HostName 127.0.0.5", "Host gate", "HostName 127.0.0.1", "Port 2201"]
    entries += ["Host far", "ProxyJump gate", "Host chained", "ProxyJump gate,direct", "Host farther", "ProxyJump far"]
    entries += ["Host spelt", "ProxyJump me@127.0.0.7:2207"]

    login = Login(ssh_config=str(write_config(tmp_path, *entries)), port=None if host == "direct" else 99)

    assert way.address(host, login) == address


def test_a_verdict_on_a_jump_host_names_it(ssh_pair: SshHosts, tmp_path: Path) -> None:
    """When it is the jump host whose key is unknown, the message says so."""
    entry = ["HostName 127.0.0.9", "ProxyJump node1"]
    config = write_config(tmp_path, "Host far", *entry, ssh_pair.ssh_config.read_text())
    login = Login(ssh_config=str(config), known_hosts=str(tmp_path / "none"))

    error = verdict_of(ssh.open_session, "far", login)

    assert str(error).startswith("far: jump host node1: host key")
    assert isinstance(error, HostKeyError)


def test_a_host_behind_a_jump_host_that_cannot_be_reached_is_the_hosts_own(
    client: Callable[..., Session], ssh_pair: SshHosts, tmp_path: Path
) -> None:
    """A jump host that finds no way on is no reason to give up for good."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    entry = ["HostName 127.0.0.1", f"Port {port}", "ProxyJump node1"]
    config = write_config(tmp_path, "Host far", *entry, ssh_pair.ssh_config.read_text())

    error = verdict_of(client, "far", Login(ssh_config=str(config)))

    assert not error.is_permanent
    if client is ssh.open_session:
        assert f"the jump host gives no connection to 127.0.0.1 port {port}" in str(error)


def test_jump_hosts_in_a_circle_are_an_error(tmp_path: Path) -> None:
    """Two hosts that are each other's jump host are found out, with the chain in the message."""
    config = write_config(tmp_path, "Host a", "ProxyJump b", "Host b", "ProxyJump a")

    error = verdict_of(ssh.open_session, "a", Login(ssh_config=str(config)))

    assert "a -> b -> a" in str(error)


def test_a_jump_host_for_all_is_not_its_own(tmp_path: Path) -> None:
    """`Host *` with a ProxyJump leaves the jump host itself to be reached directly."""
    config = write_config(tmp_path, "Host *", "User me", "ProxyJump gate")

    route = find_route("far", Login(ssh_config=str(config)))

    assert [jump.name for jump in route.jumps] == ["gate"]
    assert route.jumps[0].jumps == ()


def test_a_proxy_command_carries_the_connection(
    client: Callable[..., Session], ssh_pair: SshHosts, tmp_path: Path
) -> None:
    """With ProxyCommand the connection runs over that program's input and output."""
    relay = tmp_path / "re lay.py"
    relay.write_text(
        "import os, select, socket, sys\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "while True:\n"
        "    for ready in select.select([0, s], [], [])[0]:\n"
        "        data = os.read(0, 65536) if ready == 0 else s.recv(65536)\n"
        "        if not data: sys.exit()\n"
        "        s.sendall(data) if ready == 0 else os.write(1, data)\n"
    )
    command = f"ProxyCommand {shlex.quote(sys.executable)} {shlex.quote(str(relay))} %h %p"
    config = write_config(tmp_path, "Host node1", command, ssh_pair.ssh_config.read_text())

    assert answer_of(client, "node1", Login(ssh_config=str(config))) == "here"


def test_a_proxy_command_that_ends_is_a_closed_connection(client: Callable[..., Session], tmp_path: Path) -> None:
    """A ProxyCommand that gives up is found out at once."""
    config = write_config(tmp_path, "Host far", "ProxyCommand false")

    assert "connection closed" in str(verdict_of(client, "far", Login(ssh_config=str(config))))


def test_login_values_win_over_ssh_config(client: Callable[..., Session], ssh_pair: SshHosts, tmp_path: Path) -> None:
    """User, port and key of the configuration are used in place of those of ssh_config."""
    node = ssh_pair["node1"]
    wrong = ["User nobody-at-all", "Port 1", f"IdentityFile {tmp_path}/no_key", "IdentitiesOnly yes"]
    config = write_config(tmp_path, "Host node1", f"HostName {node.address}", *wrong)
    login = Login(ssh_pair.user, node.port, str(ssh_pair.key), str(config), str(ssh_pair.known_hosts))

    assert answer_of(client, "node1", login) == "here"


def test_included_files_of_ssh_config_count(client: Callable[..., Session], ssh_pair: SshHosts, tmp_path: Path) -> None:
    """`Include` is carried out, and what follows it belongs to the section around it."""
    config = write_config(tmp_path, f'Include "{ssh_pair.ssh_config}"', "Host other", "User nobody-at-all")

    assert answer_of(client, "node1", Login(ssh_config=str(config))) == "here"


def test_missing_identity_files_are_passed_over(
    client: Callable[..., Session], ssh_pair: SshHosts, tmp_path: Path
) -> None:
    """Of several IdentityFile lines the first that exists and is accepted logs in."""
    first = [f"IdentityFile {tmp_path}/no_key", f"IdentityFile {make_key(tmp_path / 'other_key')}"]
    config = write_config(tmp_path, "Host node1", *first, ssh_pair.ssh_config.read_text())

    assert answer_of(client, "node1", Login(ssh_config=str(config))) == "here"


def test_a_host_key_alias_is_the_name_looked_up(
    client: Callable[..., Session], ssh_pair: SshHosts, tmp_path: Path
) -> None:
    """With HostKeyAlias the key is looked up under that name, without a port."""
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text("the-alias " + ssh_pair["node1"].known_hosts_line().split(maxsplit=1)[1])
    config = write_config(tmp_path, "Host node1", "HostKeyAlias the-alias", ssh_pair.ssh_config.read_text())

    assert answer_of(client, "node1", Login(ssh_config=str(config), known_hosts=str(known_hosts))) == "here"


def test_the_host_is_asked_for_the_key_that_is_known(ssh_pair: SshHosts, tmp_path: Path) -> None:
    """Of a host with keys of two types only the less liked one is known: paramiko asks for that one."""
    key = tmp_path / "ecdsa"
    command = ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True, timeout=30, capture_output=True)
    with ssh_hosts(1) as hosts:
        node = hosts["node1"]
        node.stop()
        node.configure(hosts.key.with_suffix(".pub"), {"HostKey": f'"{key}"'})
        node.start()
        name = node.known_hosts_line().split()[0]
        hosts.known_hosts.write_text(f"{name} {key.with_suffix('.pub').read_text()}")

        assert answer_of(ssh.open_session, "node1", hosts.login()) == "here"


# -- known_hosts ---------------------------------------------------------------------------------

KEY = base64.b64encode(b"\0\0\0\x0bssh-ed25519" + bytes(36)).decode()


def hashed(name: str) -> str:
    """Return a name as ssh writes it with HashKnownHosts."""
    salt = b"s" * 20
    parts = (salt, hmac.digest(salt, name.encode(), hashlib.sha1))
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in parts)


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ("lce001 ssh-ed25519 K", True),
        ("lce000,lce001 ssh-ed25519 K a comment", True),
        ("LCE001\tssh-ed25519\tK", True),
        ("lce* ssh-ed25519 K", True),
        ("lce00? ssh-ed25519 K", True),
        ("lce*,!lce001 ssh-ed25519 K", False),
        ("lce002 ssh-ed25519 K", False),
        ("[lce001]:2222 ssh-ed25519 K", False),
        (f"{hashed('lce001')} ssh-ed25519 K", True),
        (f"{hashed('lce002')} ssh-ed25519 K", False),
        ("|1|no|base64 ssh-ed25519 K", False),
        ("# lce001 ssh-ed25519 K", False),
        ("lce001 ssh-ed25519", False),
        ("@cert-authority lce001 ssh-ed25519 K", False),
        ("@revoked lce001 ssh-ed25519 K", True),
        ("\0\xff", False),
        ("", False),
    ],
)
def test_a_name_is_found_as_ssh_finds_it(tmp_path: Path, line: str, is_found: bool) -> None:
    """Lists, patterns, negations, hashes and markers of known_hosts mean what they mean to ssh."""
    file = tmp_path / "known_hosts"
    file.write_text(f"\n{line}\n", "latin-1")

    found = find_keys([str(file)], "lce001")

    assert [(key.text, key.where, key.is_revoked) for key in found] == (
        [("K", f"{file}:2", line.startswith("@revoked"))] if is_found else []
    )


def test_a_port_is_part_of_the_name(tmp_path: Path) -> None:
    """Brackets are no pattern: a host with a port is found under just that name."""
    file = tmp_path / "known_hosts"
    file.write_text(f"[127.0.0.2]:2222 ssh-ed25519 {KEY}\n")

    assert find_keys([str(file)], "[127.0.0.2]:2222")
    assert not find_keys([str(file)], "2:2222")


def test_a_revoked_key_is_refused(ssh_pair: SshHosts, tmp_path: Path) -> None:
    """A key that known_hosts marks as revoked is refused although it is the host's."""
    known_hosts = tmp_path / "known_hosts"
    line = ssh_pair["node1"].known_hosts_line()
    known_hosts.write_text(f"{line}@revoked {line}")

    error = verdict_of(ssh.open_session, "node1", replace(ssh_pair.login(), known_hosts=str(known_hosts)))

    assert isinstance(error, HostKeyError)
    assert f"{known_hosts}:2" in str(error)


def test_keys_added_at_once_are_all_there(tmp_path: Path) -> None:
    """Many threads that add keys write whole lines, one for each host, after an unfinished last line too."""
    file = tmp_path / "new folder" / "known_hosts"
    file.parent.mkdir()
    file.write_text("old ssh-ed25519 K")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: add_key(str(file), f"host{i % 20}", "ssh-ed25519", f"K{i % 20}"), range(60)))

    lines = file.read_text().splitlines()
    assert lines[0] == "old ssh-ed25519 K"
    assert sorted(lines[1:]) == sorted(f"host{i} ssh-ed25519 K{i}" for i in range(20))


def test_of_two_keys_added_for_one_host_the_first_stays(tmp_path: Path) -> None:
    """The second to add a key learns the first's, and does not add its own."""
    file = str(tmp_path / "known_hosts")
    add_key(file, "lce001", "ssh-ed25519", "first")

    assert [key.text for key in add_key(file, "lce001", "ssh-ed25519", "second")] == ["first"]


# -- no exception of paramiko's leaks --------------------------------------------------------------


def exceptions() -> Iterator[Exception]:
    """One of every exception that paramiko, sockets and the system may raise on the way."""
    key = paramiko.ECDSAKey.generate()
    arguments: dict[type, tuple[object, ...]] = {
        ssh_exception.BadAuthenticationType: ("no", ["password"]),
        ssh_exception.PartialAuthentication: (["password"],),
        ssh_exception.ChannelException: (1, "Administratively prohibited"),
        ssh_exception.BadHostKeyException: ("lce001", key, key),
        ssh_exception.ProxyCommandFailure: ("nc", "gone"),
        ssh_exception.NoValidConnectionsError: ({("127.0.0.1", 22): ConnectionRefusedError()},),
    }
    for _, found in inspect.getmembers(ssh_exception, inspect.isclass):
        if issubclass(found, Exception):
            yield found(*arguments.get(found, ("some\nwords",)))
    yield AuthFailure(AuthResult(strategy=paramiko.AuthStrategy(ssh_config=paramiko.SSHConfig())))
    yield from (EOFError(), TimeoutError(), socket.gaierror(socket.EAI_NONAME, "no such"), socket.herror(1, "x"))
    yield from (OSError(number, os.strerror(number)) for number in sorted(errno.errorcode))
    yield from (ValueError("x"), TypeError("x"), KeyError("x"), struct.error("x"), UnicodeError("x"), Exception("TODO"))


@pytest.mark.parametrize("error", list(exceptions()), ids=lambda error: f"{type(error).__name__}-{error.args[:1]}")
def test_every_exception_on_the_way_becomes_a_verdict(error: Exception) -> None:
    """Whatever is raised becomes one line about one host."""
    route = find_route("lce001", Login(ssh_config=os.devnull, user="me"))

    got = to_host_error(error, "lce001", route, Parameters())

    assert isinstance(got, HostError)
    assert str(got).startswith("lce001: ")
    assert len(str(got).splitlines()) == 1
