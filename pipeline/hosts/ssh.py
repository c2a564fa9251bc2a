"""SSH by paramiko: one connection, one session, in this process."""

import importlib
import logging
import shlex
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from pipeline.errors import HostError
from pipeline.hosts.session import Session
from pipeline.model.hosts import Login, check_host_name, check_user_name
from pipeline.model.parameters import Parameters

__all__ = ["address", "open_session"]


class _Invoke(ModuleType):
    """Stands for the module `invoke` until something in it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get("invoke") is self:
            del sys.modules["invoke"]
        return getattr(importlib.import_module("invoke"), name)


# Half of what paramiko takes to import, with asyncio, unittest and a YAML reader; it needs it for `Match exec` alone.
sys.modules.setdefault("invoke", _Invoke("invoke"))


def open_session(host: str, command: Sequence[str], login: Login, parameters: Parameters) -> Session:
    """
    Log in to `host` and start `command` there.

    Login values win over ssh_config; a jump host gets its user, port and key from ssh_config only.

    Raises:
        HostNameError: If host or user cannot be one; nothing has been started.
        HostError: The verdict, after at most `connect_timeout` per address, `banner_timeout` and `login_timeout`
            for each sshd on the way.
    """
    check_host_name(host)
    if login.user is not None:
        check_user_name(login.user)
    # Its errors reach the user as our verdicts; its tracebacks would reach stderr by logging's handler of last resort.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    from pipeline.hosts.ssh_session import start_session  # paramiko: 100 ms

    return start_session(host, shlex.join(command), login, parameters)


def address(host: str, login: Login) -> str:
    """Return `address:port` of the first sshd on the way to a host; its name if ssh_config cannot say."""
    from pipeline.hosts.routes import find_route

    try:
        route = find_route(host, login)
    except HostError:
        return host
    while route.jumps:
        route = route.jumps[0]
    return f"{route.address}:{route.port}"
