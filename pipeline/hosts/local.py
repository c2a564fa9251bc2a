"""This machine: the program is started directly."""

from collections.abc import Sequence

from pipeline.hosts.pipes import PipeSession
from pipeline.hosts.session import Session
from pipeline.model.hosts import Login, check_host_name
from pipeline.model.parameters import Parameters

__all__ = ["open_session"]


def open_session(host: str, command: Sequence[str], login: Login, parameters: Parameters) -> Session:
    """
    Start `command` here.

    Args:
        host: For messages only.
        command: argv.
        login: Not used.
        parameters: Not used.

    Raises:
        HostError: If it cannot be started.
    """
    check_host_name(host)
    return PipeSession(host, command)
