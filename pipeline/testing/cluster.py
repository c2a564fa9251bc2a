"""Several throw-away hosts, and the files that tell an ssh client about them."""

import ipaddress
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.model.hosts import Login, check_host_name
from pipeline.testing.sshd import SshHost, find_sshd, make_key

__all__ = ["SshHosts", "ssh_hosts"]

_FIRST_ADDRESS = ipaddress.IPv4Address("127.0.0.2")  # not .1: a service of the user's may listen there
MAX_HOSTS = 1000


@dataclass(frozen=True)
class SshHosts:
    """
    Running hosts.

    Attributes:
        hosts: (n,) in the order of their names.
        directory: Holds everything of theirs, 0700; removed at the end.
        ssh_config: Makes each name a `Host` alias.
        known_hosts: Their host keys.
        key: The private key that logs in to all of them, no passphrase.
        user: Whom it logs in as.
    """

    hosts: list[SshHost]
    directory: Path
    ssh_config: Path
    known_hosts: Path
    key: Path
    user: str

    @property
    def names(self) -> list[str]:
        """(n,) names of the hosts."""
        return [host.name for host in self.hosts]

    def __getitem__(self, name: str) -> SshHost:
        """Return the host of that name; KeyError if there is none."""
        return {host.name: host for host in self.hosts}[name]

    def login(self) -> Login:
        """Return what a session needs to log in."""
        return Login(ssh_config=str(self.ssh_config), known_hosts=str(self.known_hosts))

    def config_text(self) -> str:
        """Return a pipeline.cfg whose jobs run on these hosts."""
        lines = ["[remote]", "method = ssh", f'ssh_config = "{self.ssh_config}"', f'known_hosts = "{self.known_hosts}"']
        return "\n".join(lines) + "\n"

    def write_client_files(self) -> None:
        """Write `ssh_config` and `known_hosts` anew; needed only after a host's port or key was changed."""
        self.known_hosts.write_text("".join(host.known_hosts_line() for host in self.hosts))
        self.ssh_config.write_text("".join(self._config_section(host) for host in self.hosts))

    def _config_section(self, host: SshHost) -> str:
        options = {
            "HostName": host.address,
            "Port": host.port,
            "User": self.user,
            "IdentityFile": f'"{self.key}"',
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": f'"{self.known_hosts}"',
        }
        return f"Host {host.name}\n" + "".join(f"    {key} {value}\n" for key, value in options.items())


@contextmanager
def ssh_hosts(
    n: int,
    *,
    names: Sequence[str] | None = None,
    python: str | None = os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
    sshd_options: Mapping[str, str] | None = None,
) -> Iterator[SshHosts]:
    """
    Start `n` hosts, and end them and all that runs on them when the block is left.

    Args:
        n: 1 to 1000.
        names: (n,) names; by default node1, node2, ...
        python: The interpreter that is `python3` there, by default the running one's; None: no Python on PATH at all.
        sshd_options: sshd_config keywords and values, e.g. {"MaxSessions": "1"}; they win over our own.

    Raises:
        UsageError: For a wrong number or name.
        SshdNotFound: If sshd is not installed.
        SshdNotStarted: If one does not answer.
    """
    names = _checked_names(n, names)
    find_sshd()
    with ExitStack() as stack:  # goes on clearing up when a part of it fails or a Ctrl-C comes in between
        directory = Path(tempfile.mkdtemp(prefix="pipeline-testing-"))  # 0700
        stack.callback(shutil.rmtree, directory)
        _make_privilege_separation_directory()
        key = make_key(directory / "id_ed25519")
        hosts: list[SshHost] = []
        for i, name in enumerate(names):
            host = SshHost(name, str(_FIRST_ADDRESS + i), directory / f"host{i + 1}", python=python)
            host.configure(key.with_suffix(".pub"), sshd_options or {})
            stack.callback(host.stop)
            host.begin()
            hosts.append(host)
        for host in hosts:
            host.wait_until_up()
        user = pwd.getpwuid(os.getuid()).pw_name
        cluster = SshHosts(hosts, directory, directory / "ssh_config", directory / "known_hosts", key, user)
        cluster.write_client_files()
        yield cluster


def _checked_names(n: int, names: Sequence[str] | None) -> list[str]:
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_HOSTS:
        raise UsageError(f"number of hosts {n!r}: expected an integer from 1 to {MAX_HOSTS}")
    checked = [check_host_name(name) for name in names or [f"node{i + 1}" for i in range(n)]]
    if len(set(checked)) != n:
        raise UsageError(f"names of hosts {list(checked)!r}: expected {n} different names")
    return checked


def _make_privilege_separation_directory() -> None:
    """As root sshd wants a directory that its package makes at boot; in a container nobody has."""
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
