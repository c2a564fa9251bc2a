"""Fixtures for all tests."""

from collections.abc import Iterator

import pytest

from pipeline.testing import SshHosts, is_sshd_available, ssh_hosts


@pytest.fixture(scope="session")
def ssh_pair() -> Iterator[SshHosts]:
    """Two throw-away hosts, node1 and node2, shared by all tests of one worker: leave them as you found them."""
    if not is_sshd_available():
        pytest.skip("sshd is not installed (Debian: openssh-server)")
    with ssh_hosts(2) as hosts:
        yield hosts
