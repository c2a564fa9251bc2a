"""One throw-away SSH host: a real sshd on a loopback address of its own, with a home directory of its own."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.testing.processes import find_processes, kill_processes

__all__ = ["SshHost", "SshdNotFound", "SshdNotStarted", "find_sshd", "is_sshd_available", "make_key"]

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0
_PORT_TRIES = 5
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
# Names the sessions of one host in their environment, so that its processes can be told from all others.
_MARK = "PIPELINE_TESTING_HOST"


class SshdNotFound(PipelineError):
    """This machine has no sshd, or lacks ssh-keygen."""


class SshdNotStarted(PipelineError):
    """An sshd ended or did not answer in time; carries the tail of its log."""


def find_sshd() -> str:
    """
    Return the path of sshd.

    Raises:
        SshdNotFound: Says what to install.
    """
    return _find_program("sshd", "openssh-server")


def is_sshd_available() -> bool:
    """Hosts can be started on this machine."""
    try:
        find_sshd()
        _find_program("ssh-keygen", "openssh-client")
    except SshdNotFound:
        return False
    return True


def make_key(path: Path) -> Path:
    """Make an ed25519 key pair without a passphrase at `path` and `path`.pub and return `path`."""
    program = _find_program("ssh-keygen", "openssh-client")
    command = [program, "-q", "-t", "ed25519", "-N", "", "-C", "pipeline.testing", "-f", str(path)]
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, capture_output=True, timeout=30)
    return path


class SshHost:
    """
    One host.

    Attributes:
        name: What recipes call it.
        address: Its loopback address.
        port: The only port it listens on; stays the same over `stop` and `start`.
        home: HOME of its sessions, where they also start.
        host_key: Path of its private ed25519 host key; the public one is `host_key_pub`.
    """

    def __init__(self, name: str, address: str, directory: Path, *, python: str | None) -> None:
        """Lay out the host's files in `directory`; nothing is started."""
        self.name = name
        self.address = address
        self.port = 0
        self.home = directory / "home"
        self.host_key = directory / "ssh_host_ed25519_key"
        self.host_key_pub = directory / "ssh_host_ed25519_key.pub"
        self._directory = directory
        self._log = directory / "sshd.log"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(mode=0o700)
        self.home.mkdir(mode=0o700)
        make_key(self.host_key)
        self._path = _lay_out_programs(directory, self.home / "bin", python)

    def configure(self, authorized_keys: Path, options: Mapping[str, str]) -> None:
        """
        Set who may log in, and sshd_config options that win over ours; takes effect at the next `start`.

        Args:
            authorized_keys: Public keys that may log in.
            options: sshd_config keywords and their values as they would stand in the file.
        """
        lines = [f"{key} {value}" for key, value in options.items()]  # in sshd_config the first value wins
        lines += [f"HostKey {_quote(self.host_key)}", f"AuthorizedKeysFile {_quote(authorized_keys)}"]
        lines += ["PidFile none", "StrictModes no", "UsePAM no", "UseDNS no", "PrintMotd no", "PrintLastLog no"]
        lines += ["PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password"]
        environment = {"HOME": str(self.home), "PATH": self._path, _MARK: str(self._directory)}
        lines.append("SetEnv " + " ".join(_quote(f"{key}={value}") for key, value in environment.items()))
        # sshd starts sessions in the home directory of /etc/passwd. The shell that runs this has read our .bashrc; from
        # a SHLVL of 2 on bash does not read it again.
        lines.append(
            'ForceCommand cd "$HOME"; if [ -n "$SSH_ORIGINAL_COMMAND" ]; '
            'then exec env SHLVL=1 "$SHELL" -c "$SSH_ORIGINAL_COMMAND"; else exec "$SHELL" -i; fi'
        )
        (self._directory / "sshd_config").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """
        Start sshd and wait until it answers.

        Raises:
            SshdNotStarted: If it does not.
        """
        self.begin()
        self.wait_until_up()

    def begin(self) -> None:
        """Start sshd; `wait_until_up` must follow."""
        if self._process is not None:
            return
        self.port = self.port or _free_port(self.address)
        command = [find_sshd(), "-D", "-f", str(self._directory / "sshd_config"), "-E", str(self._log)]
        command += ["-o", f"ListenAddress={self.address}:{self.port}"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={"PATH": _SYSTEM_PATH},
        )

    def wait_until_up(self) -> None:
        """Return when sshd has sent its banner; raise SshdNotStarted if it ends before, or takes too long."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        for tries_left in reversed(range(_PORT_TRIES)):
            if self._answers(deadline_s):
                return
            lost_port = "Address already in use" in self.sshd_log()
            self.stop()
            if not (tries_left and lost_port):
                break
            self._log.unlink()
            self.port = 0  # someone took it between our look and sshd's bind
            self.begin()
        tail = " | ".join(self.sshd_log().splitlines()[-5:]) or "empty"
        raise SshdNotStarted(f"sshd of {self.name} on {self.address}:{self.port} does not answer; its log: {tail}")

    def stop(self) -> None:
        """End sshd and all that was started through it, at once, as if the host lost power; safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        mark = f"{_MARK}={self._directory}"
        process.send_signal(signal.SIGSTOP)  # takes no new connections while its sessions are being ended
        for pid in find_processes(below=process.pid, program="sshd"):  # nor do these tell how their programs ended
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            kill_processes(lambda: find_processes(below=process.pid, mark=mark), STOP_TIMEOUT_S)
        finally:
            process.kill()
            process.wait(STOP_TIMEOUT_S)

    def drop_connections(self) -> None:
        """End the connections open now, as a network would; the programs they started live on, sshd listens on."""
        if self._process is not None:
            sshd = self._process.pid
            kill_processes(lambda: find_processes(below=sshd, program="sshd"), STOP_TIMEOUT_S)

    def sshd_log(self) -> str:
        """Return what its sshd has logged so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def known_hosts_line(self) -> str:
        """Return its line for a known_hosts file."""
        kind, key = self.host_key_pub.read_text().split()[:2]
        return f"[{self.address}]:{self.port} {kind} {key}\n"

    def _answers(self, deadline_s: float) -> bool:
        assert self._process is not None
        while time.monotonic() < deadline_s:
            try:
                with socket.create_connection((self.address, self.port), timeout=1.0) as connection:
                    if connection.recv(4) == b"SSH-":
                        return True
            except OSError:
                pass  # not yet; the process tells whether it ever will
            try:
                self._process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
            return False
        return False


def _find_program(name: str, package: str) -> str:
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin")
    if path is None:
        raise SshdNotFound(f"{name} is not installed; install the package {package}, e.g. apt install {package}")
    return path


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
    return port


def _lay_out_programs(directory: Path, home_bin: Path, python: str | None) -> str:
    """Fill the host's own bin/ and return the PATH of its sessions."""
    home_bin.mkdir()
    if python is not None:
        # A script and not a link: an interpreter of a virtual environment finds it by its own path only.
        quoted = "'" + python.replace("'", "'\\''") + "'"
        (home_bin / "python3").write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
        (home_bin / "python3").chmod(0o755)
        return f"{home_bin}:{_SYSTEM_PATH}"
    programs = directory / "programs"
    programs.mkdir()
    for folder in map(Path, _SYSTEM_PATH.split(":")):
        for name in os.listdir(folder) if folder.is_dir() else ():
            if "python" not in name and "pypy" not in name and not (programs / name).is_symlink():
                (programs / name).symlink_to(folder / name)
    return f"{home_bin}:{programs}"


def _quote(value: object) -> str:
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
