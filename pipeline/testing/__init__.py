"""
Throw-away SSH hosts on this machine, so that recipes can be tested without a cluster.

    from pipeline.testing import ssh_hosts

    with ssh_hosts(4) as hosts:
        Path("pipeline.cfg").write_text(hosts.config_text())
        ...  # node1 ... node4 are hosts now

`python -m pipeline.testing 4` does the same for a shell. Needs `sshd` (Debian: `apt install openssh-server`), no root.
"""

from pipeline.testing.cluster import SshHosts, ssh_hosts
from pipeline.testing.sshd import SshdNotFound, SshdNotStarted, SshHost, is_sshd_available

__all__ = ["SshHost", "SshHosts", "SshdNotFound", "SshdNotStarted", "is_sshd_available", "ssh_hosts"]
