"""What paramiko, sockets and the system raise on the way to a host, as verdicts of ours."""

import socket

from paramiko.auth_strategy import AuthFailure
from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    ChannelException,
    ConfigParseError,
    IncompatiblePeer,
    NoValidConnectionsError,
    SSHException,
)

from pipeline.errors import HostError, HostNameError
from pipeline.hosts import verdicts
from pipeline.hosts.routes import Route
from pipeline.model.parameters import Parameters

__all__ = ["to_host_error"]


def to_host_error(error: Exception, host: str, route: Route, parameters: Parameters) -> HostError:
    """Turn anything that is raised on the way along `route` into the verdict on `host`."""
    found: HostError
    match error:
        case HostError():
            found = error
        case HostNameError():
            found = HostError(host, str(error), is_permanent=True)
        case AuthenticationException():
            found = _from_login(error, host, route, parameters)
        case BadHostKeyException():
            found = verdicts.key_changed(host, route.known_hosts[0], route.known_as)
        case ChannelException():
            found = verdicts.no_session(host, error.text)
        case ConfigParseError():
            found = verdicts.bad_client_config(host, f"ssh_config: {error}")
        case IncompatiblePeer():
            found = HostError(host, f"no common SSH algorithms: {verdicts.one_line(str(error))}", is_permanent=True)
        case SSHException():
            found = _from_message(str(error), host, parameters)
        case OSError():
            found = _from_system(error, host, route, parameters)
        case EOFError():
            found = verdicts.connection_closed(host, str(error))
        case _:
            found = HostError(host, f"SSH failed: {type(error).__name__}: {verdicts.one_line(str(error))}")
    return found


def _from_login(error: AuthenticationException, host: str, route: Route, parameters: Parameters) -> HostError:
    """Tell a no of the host from a connection that broke while we asked."""
    if isinstance(error, AuthFailure):
        last = error.result[-1].result if error.result else None
        if isinstance(last, Exception) and not isinstance(last, AuthenticationException):
            return to_host_error(last, host, route, parameters)
        if not _is_timeout(last):
            tried = getattr(error.result.strategy, "tried", ())
            return verdicts.login_refused(host, route.user, tried)
    if isinstance(error, AuthFailure) or _is_timeout(error):
        return verdicts.no_answer_to_login(host, parameters.login_timeout)
    return verdicts.login_refused(host, route.user, detail=str(error))


def _is_timeout(found: object) -> bool:
    return isinstance(found, AuthenticationException) and "timeout" in str(found).lower()


def _from_message(text: str, host: str, parameters: Parameters) -> HostError:
    """Paramiko has one class for most of what can go wrong; only its words tell them apart."""
    if "Indecipherable protocol version" in text or "Invalid SSH banner" in text:
        return verdicts.not_ssh(host, text.partition('"')[2] or text)
    if text.endswith("SSH protocol banner"):  # with nothing behind it: it waited in vain
        return verdicts.no_banner(host, parameters.banner_timeout)
    if "No existing session" in text or "Negotiation failed" in text or "timed out" in text:
        return verdicts.no_answer_to_login(host, parameters.login_timeout)
    if "opening channel" in text or "Channel closed" in text or "open channel" in text:
        return verdicts.no_session(host, text)
    return verdicts.connection_closed(host, text)


def _from_system(error: OSError, host: str, route: Route, parameters: Parameters) -> HostError:
    where = f"{route.address} port {route.port}"
    match error:
        case socket.gaierror():
            is_permanent = error.errno != socket.EAI_AGAIN
            return verdicts.unknown_name(host, route.address, is_permanent=is_permanent)
        case ConnectionRefusedError() | NoValidConnectionsError():
            return verdicts.refused(host, where)
        case TimeoutError():
            return verdicts.no_connection(host, parameters.connect_timeout)
        case ConnectionError():
            return verdicts.connection_closed(host, error.strerror or str(error))
        case _:
            return HostError(host, f"no connection to {where}: {error.strerror or error}")
