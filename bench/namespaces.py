"""Throw-away SSH hosts that are network namespaces: an address, a port table and an sshd each, as on machines."""

import ctypes
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.testing import SshHost, SshHosts, is_sshd_available
from pipeline.testing.sshd import make_key

PREFIX = f"pb{os.getpid()}"
HUB = f"{PREFIX}hub"  # the master's namespace: the machine's own network is not touched
TIMEOUT_S = 30.0
_CLONE_NEWNET = 0x40000000


def why_not() -> str:
    """Say what is missing for it; empty if nothing is. What the kernel does not allow is seen when it is tried."""
    if os.getuid():
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "no ip on PATH (Debian: apt install iproute2)"
    if not is_sshd_available():
        return "no sshd (Debian: apt install openssh-server)"
    return ""


@contextmanager
def namespace_hosts(n: int, python: str) -> Iterator[SshHosts]:
    """
    Start n hosts, node1 to node<n>; within the block this process, and what it starts, is in the master's namespace.

    Each sshd has its default limits. All is ended and removed when the block is left.

    Raises:
        OSError, subprocess.SubprocessError, PipelineError: They cannot be started here.
    """
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="pipeline-bench-"))
        stack.callback(shutil.rmtree, directory)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        stack.enter_context(namespace(HUB))
        lay_bridge()
        stack.enter_context(within(HUB))
        key = make_key(directory / "id_ed25519")
        hosts = [start_host(number, directory, key, python, stack) for number in range(1, n + 1)]
        for host in hosts:
            host.wait_until_up()
        user = pwd.getpwuid(os.getuid()).pw_name
        cluster = SshHosts(hosts, directory, directory / "ssh_config", directory / "known_hosts", key, user)
        cluster.write_client_files()
        yield cluster


def start_host(number: int, directory: Path, key: Path, python: str, stack: ExitStack) -> SshHost:
    """Start one host in a namespace of its own, which is connected to the hub's bridge."""
    name, address = f"{PREFIX}n{number}", f"10.0.{number // 250}.{number % 250 + 2}"
    stack.enter_context(namespace(name))
    ip("-n", HUB, "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
    ip("-n", HUB, "link", "set", f"v{number}", "master", "bridge", "up")
    ip("-n", name, "address", "add", f"{address}/16", "dev", "eth0")
    for device in ("lo", "eth0"):
        ip("-n", name, "link", "set", device, "up")
    host = SshHost(f"node{number}", address, directory / f"host{number}", python=python)
    host.configure(key.with_suffix(".pub"), {})
    stack.callback(host.stop)
    with within(name):
        host.begin()
    return host


def lay_bridge() -> None:
    """Make the switch that all hosts and the master are connected to."""
    ip("-n", HUB, "link", "add", "bridge", "type", "bridge")
    ip("-n", HUB, "address", "add", "10.0.255.254/16", "dev", "bridge")
    for device in ("lo", "bridge"):
        ip("-n", HUB, "link", "set", device, "up")


@contextmanager
def namespace(name: str) -> Iterator[None]:
    """Make a network namespace and remove it."""
    ip("netns", "add", name)
    try:
        yield
    finally:
        ip("netns", "delete", name)


@contextmanager
def within(name: str) -> Iterator[None]:
    """Be in a namespace: sockets that this thread opens and processes that it starts are there."""
    with open("/proc/thread-self/ns/net") as before:
        enter(f"/run/netns/{name}")
        try:
            yield
        finally:
            enter(f"/proc/self/fd/{before.fileno()}")


def enter(path: str) -> None:
    """Let this thread into the namespace of that file."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path) as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns", path)


def ip(*words: str) -> None:
    """Run `ip`; an OSError tells what it complains."""
    done = subprocess.run(
        ["ip", *words], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_S
    )
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {' | '.join(done.stderr.splitlines())}")


def refused(hosts: SshHosts) -> int:
    """Count the lines of all sshd logs that tell of a connection turned away."""
    signs = ("drop connection", "MaxStartups", "penalty", "Too many", "max sessions", "refused")
    return sum(any(sign in line for sign in signs) for host in hosts.hosts for line in host.sshd_log().splitlines())
