"""How each host is reached: on this machine, with paramiko or with the system's ssh."""

import importlib
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pipeline.hosts.session import Session
from pipeline.model.hosts import Login
from pipeline.model.parameters import Parameters
from pipeline.run.bundle import agent_command

__all__ = ["Reach", "name_in_logs"]

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})

_MODULES = {"local": "pipeline.hosts.local", "paramiko": "pipeline.hosts.ssh", "openssh": "pipeline.hosts.openssh"}


@dataclass(frozen=True)
class Reach:
    """
    How to start agents, as configured in `[remote]` and `[deploy]`.

    Attributes:
        method: auto, local or ssh.
        ssh_client: paramiko or openssh.
        python: `[deploy] python`; None looks for one on the host.
        environment: initscript, engine_ppath, engine_lpath, as far as they are set.
        warm: `[remote] warm`: auto, off or at once.
    """

    method: str = "auto"
    ssh_client: str = "paramiko"
    login: Login = field(default_factory=Login)
    parameters: Parameters = field(default_factory=Parameters)
    python: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    warm: str = "auto"

    def way(self, host: str) -> str:
        """Return local, paramiko or openssh."""
        is_local = self.method == "local" or (self.method == "auto" and host in self._own_names)
        return "local" if is_local else self.ssh_client

    def describe(self, host: str) -> str:
        """Say how a host is reached and why, for the log and dry runs."""
        if self.way(host) != "local":
            return f"ssh ({self.ssh_client})"
        return "local (method = local)" if self.method == "local" else "local (this machine)"

    def address(self, host: str) -> str:
        """Return what tells one sshd from another: several names may lead to the same."""
        way = self.way(host)
        if way == "local":
            return host
        address: Callable[[str, Login], str] = importlib.import_module(_MODULES[way]).address
        return address(host, self.login)

    def open_session(self, host: str) -> Session:
        """Start the agent's interpreter on a host; raises HostError with the verdict."""
        way = self.way(host)
        # A Python that the user names may be missing or too old: then the shell tells, here as on other hosts.
        is_ours = way == "local" and self.python is None
        command = agent_command(self.python, is_local=is_ours, interpreter=sys.executable)
        # Imported when first needed: paramiko takes longer than all the rest together.
        open_session: Callable[[str, Sequence[str], Login, Parameters], Session]
        open_session = importlib.import_module(_MODULES[way]).open_session
        return open_session(host, command, self.login, self.parameters)

    def setup(self, host: str, token: str) -> dict[str, Any]:
        """Return what the agent of a host is told at its start, see `node/agent.py`."""
        p = self.parameters
        return {
            "token": token,
            "host": name_in_logs(host),
            "python": self.python,
            "warm": self.warm,
            "batch_bytes": p.batch_bytes,
            "batch_interval": p.batch_interval,
            "beat_interval": p.beat_interval,
            "lease": p.lease,
            "kill_grace": p.kill_grace,
            **self.environment,
        }

    @cached_property
    def _own_names(self) -> frozenset[str]:
        name = socket.gethostname()
        # No getfqdn: it asks the name server, which may be slow or gone.
        return _THIS_MACHINE | {name, name.partition(".")[0]}


def name_in_logs(host: str) -> str:
    """Return what stands for a host in the names of loggers: `localhost` says too little where logs are gathered."""
    return socket.gethostname().partition(".")[0] if host in _THIS_MACHINE else host
