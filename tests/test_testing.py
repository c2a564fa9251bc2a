"""The throw-away hosts that recipe authors test with."""

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import configobj
import pytest

from pipeline.errors import HostNameError, UsageError
from pipeline.hosts import openssh
from pipeline.model.parameters import Parameters
from pipeline.testing import SshdNotFound, SshdNotStarted, SshHosts, is_sshd_available, ssh_hosts

WAIT_S = 20.0
needs_sshd = pytest.mark.skipif(not is_sshd_available(), reason="sshd is not installed (Debian: openssh-server)")


def on_host(hosts: SshHosts, name: str, command: str) -> str:
    """Run a shell command on a host and return what it prints."""
    words = ["ssh", "-F", str(hosts.ssh_config), name, command]
    return subprocess.run(words, capture_output=True, text=True, timeout=WAIT_S, check=False).stdout.strip()


def is_running(pid: int) -> bool:
    """Tell whether a process lives; one that has ended and is not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def start_command(*words: str) -> subprocess.Popen[str]:
    """Start `python -m pipeline.testing` with pipes, in a session of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.testing", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


@pytest.fixture
def lone_host() -> Iterator[SshHosts]:
    """One host for a test that does something to it."""
    if not is_sshd_available():
        pytest.skip("sshd is not installed (Debian: openssh-server)")
    with ssh_hosts(1) as hosts:
        yield hosts


def test_hosts_have_names_addresses_and_homes_of_their_own(ssh_pair: SshHosts) -> None:
    """Each host has its own name, loopback address, host key, and home directory, where sessions start."""
    node1, node2 = ssh_pair.hosts

    assert ssh_pair.names == ["node1", "node2"]
    assert (node1.address, node2.address) == ("127.0.0.2", "127.0.0.3")
    assert node1.host_key_pub.read_text() != node2.host_key_pub.read_text()
    for host in ssh_pair.hosts:
        assert on_host(ssh_pair, host.name, "echo $HOME; pwd -P").split("\n") == [str(host.home)] * 2


def test_a_host_reads_its_own_bashrc(lone_host: SshHosts) -> None:
    """What a .bashrc of the host's home prints comes before the command's output, as on real clusters."""
    shell = on_host(lone_host, "node1", "echo $SHELL")
    if not shell.endswith("bash"):
        pytest.skip(f"the login shell here is {shell}, not bash")
    (lone_host["node1"].home / ".bashrc").write_text("echo noise\n")

    assert on_host(lone_host, "node1", "echo here") == "noise\nhere"


def test_python_on_a_host_is_the_running_interpreter(ssh_pair: SshHosts) -> None:
    """`python3` is found first in the host's own bin/ and is of our version."""
    got = on_host(ssh_pair, "node1", "command -v python3; python3 -c 'import sys; print(sys.version_info[:3])'")

    assert got.split("\n") == [str(ssh_pair["node1"].home / "bin/python3"), str(sys.version_info[:3])]


@needs_sshd
def test_a_host_can_be_without_python() -> None:
    """With python=None no name of a Python is found, and other programs are."""
    with ssh_hosts(1, python=None) as hosts:
        got = on_host(hosts, "node1", "command -v python python3 python3.11 pypy3; command -v ls >/dev/null && echo ls")

    assert got == "ls"


@needs_sshd
def test_a_host_can_have_another_python(tmp_path: Path) -> None:
    """The interpreter named is `python3`, whatever its path looks like."""
    other = tmp_path / "an 'other' python"
    other.write_text('#!/bin/sh\necho "other: $*"\n')
    other.chmod(0o755)

    with ssh_hosts(1, python=str(other)) as hosts:
        assert on_host(hosts, "node1", "python3 -c pass") == "other: -c pass"


@needs_sshd
def test_names_and_sshd_options_can_be_given() -> None:
    """Hosts go by the names given, and options of sshd_config win over ours."""
    with ssh_hosts(1, names=["lce001"], sshd_options={"ForceCommand": "echo forced"}) as hosts:
        assert hosts.names == ["lce001"]
        assert on_host(hosts, "lce001", "echo here") == "forced"


@needs_sshd
def test_paths_of_the_temporary_directory_may_hold_blanks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files work in a folder whose name needs quotes."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))

    with ssh_hosts(1) as hosts:
        assert str(hosts.directory).startswith(str(folder))
        assert on_host(hosts, "node1", "pwd") == str(hosts["node1"].home)


def test_hosts_listen_on_their_loopback_address_only(ssh_pair: SshHosts) -> None:
    """No sshd can be reached from another machine."""
    for host in ssh_pair.hosts:
        listening = re.findall(r"Server listening on (\S+) port (\d+)", host.sshd_log())

        assert listening == [(host.address, str(host.port))]


def test_all_files_are_private(ssh_pair: SshHosts) -> None:
    """The directory of the hosts can be entered by us alone."""
    assert ssh_pair.directory.stat().st_mode & 0o777 == 0o700
    assert ssh_pair.key.stat().st_mode & 0o777 == 0o600


def test_the_configuration_is_ready_to_use(ssh_pair: SshHosts) -> None:
    """configobj reads the text, and its keys are those of the contract."""
    remote = configobj.ConfigObj(ssh_pair.config_text().splitlines())["remote"]

    assert remote == {
        "method": "ssh",
        "ssh_config": str(ssh_pair.ssh_config),
        "known_hosts": str(ssh_pair.known_hosts),
    }


def test_the_login_opens_sessions(ssh_pair: SshHosts) -> None:
    """`login()` is all that a session needs."""
    session = openssh.open_session("node2", ["echo", "here"], ssh_pair.login(), Parameters())
    try:
        assert session.read(100, WAIT_S) == b"here\n"
    finally:
        session.close()


def test_a_stopped_host_takes_its_programs_along(lone_host: SshHosts) -> None:
    """After stop() nothing of the host runs or listens, not even a program that left its session; start() revives."""
    node = lone_host["node1"]
    command = "setsid sh -c 'sleep 300 & echo $!; wait' </dev/null & setsid sleep 300 >/dev/null 2>&1 & echo $!; wait"
    words = ["ssh", "-F", str(lone_host.ssh_config), "node1", command]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as ssh:
        assert ssh.stdout is not None
        pids = [int(ssh.stdout.readline()) for _ in range(2)]
        assert all(map(is_running, pids))

        node.stop()

        assert not any(map(is_running, pids))
        assert ssh.wait(WAIT_S) == 255
    assert on_host(lone_host, "node1", "echo here") == ""
    node.start()
    assert on_host(lone_host, "node1", "echo here") == "here"


def test_dropped_connections_leave_programs_alone(lone_host: SshHosts) -> None:
    """After drop_connections() the client is gone, its program lives on, and new logins work."""
    command = "trap '' HUP PIPE; echo $$; exec sleep 300"
    words = ["ssh", "-F", str(lone_host.ssh_config), "node1", command]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as ssh:
        assert ssh.stdout is not None
        pid = int(ssh.stdout.readline())

        lone_host["node1"].drop_connections()

        assert ssh.wait(WAIT_S) == 255
    assert is_running(pid)
    assert on_host(lone_host, "node1", "echo here") == "here"


@needs_sshd
def test_nothing_is_left_behind() -> None:
    """After the block its directory and its processes are gone, also when the block raised."""
    seen: list[Path] = []

    def use() -> None:
        with ssh_hosts(1) as hosts:
            seen.append(hosts.directory)
            raise RuntimeError("of the test")

    with pytest.raises(RuntimeError, match="of the test"):
        use()

    assert not seen[0].exists()
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [command for command in commands if bytes(seen[0]) in command]


@needs_sshd
def test_an_sshd_that_does_not_start_shows_its_log() -> None:
    """With a bad option the error is one line with what sshd said."""
    with (
        pytest.raises(SshdNotStarted, match="Bad configuration option: NoSuchOption") as caught,
        ssh_hosts(1, sshd_options={"NoSuchOption": "yes"}),
    ):
        pass

    assert "\n" not in str(caught.value)


def test_without_sshd_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without ssh-keygen or sshd cannot have hosts, and the message names the package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    if is_sshd_available():
        pytest.skip("sshd and ssh-keygen are outside PATH here")

    with pytest.raises(SshdNotFound, match="install the package openssh-"), ssh_hosts(1):
        pass


@pytest.mark.parametrize("n", [0, -1, 1001, "2", True])
def test_a_wrong_number_of_hosts_is_one_line(n: int) -> None:
    """Numbers out of range are refused before anything is started."""
    with pytest.raises(UsageError, match="expected an integer from 1 to 1000"), ssh_hosts(n):
        pass


def test_wrong_names_are_refused() -> None:
    """Names must be hosts' names, and as many different ones as hosts."""
    with pytest.raises(HostNameError), ssh_hosts(1, names=["-oProxyCommand=x"]):
        pass
    with pytest.raises(UsageError, match="expected 2 different names"), ssh_hosts(2, names=["a", "a"]):
        pass


@needs_sshd
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, None])
def test_the_command_gives_hosts_until_it_is_ended(end: signal.Signals | None, tmp_path: Path) -> None:
    """`python -m pipeline.testing` writes a configuration and clears up at Ctrl-C, SIGTERM or the end of its stdin."""
    config = tmp_path / "pipe line.cfg"
    with start_command("1", "--config", str(config)) as command:
        assert command.stdout is not None
        assert command.stdin is not None
        assert select.select([command.stdout], [], [], WAIT_S)[0]
        assert command.stdout.readline() == f"1 hosts are up; their pipeline.cfg is {config}\n"
        directory = Path(configobj.ConfigObj(str(config))["remote"]["ssh_config"]).parent
        assert directory.is_dir()

        if end is None:
            command.stdin.close()
        else:
            command.send_signal(end)

        assert command.wait(WAIT_S) == 0
        assert not directory.exists()


@needs_sshd
def test_the_command_prints_the_configuration() -> None:
    """Without --config the pipeline.cfg is on stdout, with a comment that names the hosts."""
    got = subprocess.run(
        [sys.executable, "-m", "pipeline.testing", "2"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        input="",
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )

    assert got.stdout.startswith("# node1, node2; log in by hand: ssh -F ")
    assert configobj.ConfigObj(got.stdout.splitlines())["remote"]["method"] == "ssh"


@pytest.mark.parametrize("words", [["many"], ["0"], [], ["1", "--confg", "x"], ["1", "--config", "/no/such/file"]])
def test_a_mistake_on_the_command_line_is_one_line(words: list[str]) -> None:
    """Bad numbers, options and files give one line and exit status 2."""
    if "--config" in words and not is_sshd_available():
        pytest.skip("sshd is not installed (Debian: openssh-server)")
    with start_command(*words) as command:
        _, errors = command.communicate(timeout=WAIT_S)

    assert command.returncode == 2
    assert len(errors.splitlines()) == 1
