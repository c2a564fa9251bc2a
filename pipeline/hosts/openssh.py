"""The system's OpenSSH client: whatever ssh_config, agents, certificates or Kerberos it knows, it uses."""

import math
import os
import re
import shlex
import subprocess
from collections.abc import Sequence

from pipeline.errors import HostError
from pipeline.hosts import verdicts
from pipeline.hosts.pipes import PipeSession
from pipeline.hosts.session import Session
from pipeline.model.hosts import Login, check_host_name, check_user_name
from pipeline.model.parameters import Parameters

__all__ = ["address", "open_session"]

_LOOKUP_S = 5.0
_MAX_JUMPS = 8
_SSH_FAILED = 255  # ssh's exit status for its own failures
# Of these two it says nothing at LogLevel=ERROR; at INFO it would fill the last words with the host's login banner.
_NO_REASON = "by the network or sshd, or sshd opens no session (see MaxSessions there)"

# ControlMaster and ControlPath: a shared connection would outlive us and evade one session per connection.
# RemoteCommand, RequestTTY, forwardings: of use to a person at a terminal; here they would break the byte stream.
_OPTIONS = {
    "BatchMode": "yes",
    "ControlMaster": "no",
    "ControlPath": "none",
    "ClearAllForwardings": "yes",
    "ForwardX11": "no",
    "RequestTTY": "no",
    "RemoteCommand": "none",
    "PermitLocalCommand": "no",
    "EscapeChar": "none",
    "LogLevel": "ERROR",
    "TCPKeepAlive": "yes",
}


def open_session(host: str, command: Sequence[str], login: Login, parameters: Parameters) -> Session:
    """
    Start an ssh client that starts `command` on `host`, and return at once; reading or writing gives the verdict.

    Login values win over ssh_config, as ssh's own options do; a jump host gets its own from ssh_config only.

    Raises:
        HostNameError: If host or user cannot be one; nothing has been started.
        HostError: If there is no ssh client, or the key file is not there.
    """
    check_host_name(host)
    if login.user is not None:
        check_user_name(login.user)
    if login.key_filename is not None and not os.access(os.path.expanduser(login.key_filename), os.R_OK):
        raise verdicts.no_such_key(host, login.key_filename, "no such file, or it cannot be read")
    return _OpensshSession(host, command, login, parameters)


def address(host: str, login: Login) -> str:
    """Return `address:port` of the first sshd on the way to a host; its name if ssh_config cannot say."""
    found = _look_up(host, login)
    visited = ["none"]
    while (jump := found.get("proxyjump", "none").partition(",")[0]) not in visited and len(visited) < _MAX_JUMPS:
        visited.append(jump)
        # As a URI: it may have a user and a port. The rest it has from ssh_config, as when ssh itself goes there.
        found = _look_up("ssh://" + jump.removeprefix("ssh://"), Login(ssh_config=login.ssh_config)) or found
    return f"{found['hostname']}:{found.get('port', 22)}" if "hostname" in found else host


def _look_up(host: str, login: Login) -> dict[str, str]:
    """Return what ssh would use for a host, by the option's name in lower case; {} if it cannot say."""
    words = ["ssh", "-G", *_login_words(login), "--", host]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LOOKUP_S)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.split(" ", 1) for line in done.stdout.decode(errors="replace").splitlines() if " " in line)


class _OpensshSession(PipeSession):
    """The pipes of an ssh client, whose exit status and stderr tell why there is no connection."""

    def __init__(self, host: str, command: Sequence[str], login: Login, parameters: Parameters) -> None:
        self._login = login
        self._connect_s = _connect_timeout(parameters)
        # Nothing may ask for a password, in a window neither.
        environment = {**os.environ, "SSH_ASKPASS_REQUIRE": "never"}
        super().__init__(host, _argv(host, command, login, parameters), environment)

    def _not_started(self, program: str, error: OSError | ValueError) -> HostError:
        if isinstance(error, FileNotFoundError):
            return HostError(
                self.host,
                "there is no ssh program here; install openssh-client or set ssh_client = paramiko in [remote]",
                is_permanent=True,
            )
        return super()._not_started(program, error)

    def _error_at_end(self, status: int | None) -> HostError | None:
        if status is None or (status >= 0 and status != _SSH_FAILED):
            return None
        words = self._tail.decode("utf-8", "replace")
        if self._has_output or status < 0:
            return verdicts.connection_closed(self.host, words)
        return _verdict(self.host, words, self._login, self._connect_s)


def _connect_timeout(parameters: Parameters) -> int:
    """One limit for TCP connection and banner, in whole seconds as ssh wants it."""
    return max(1, math.ceil(max(parameters.connect_timeout, parameters.banner_timeout)))


def _argv(host: str, command: Sequence[str], login: Login, parameters: Parameters) -> list[str]:
    # Paramiko's counterpart is TCP_USER_TIMEOUT: a dead link must not go unnoticed for longer.
    beats = max(1, round(parameters.tcp_user_timeout / parameters.beat_interval))
    options = {
        **_OPTIONS,
        "ConnectTimeout": str(_connect_timeout(parameters)),
        "ServerAliveInterval": str(max(1, math.ceil(parameters.beat_interval))),
        "ServerAliveCountMax": str(beats),
        "StrictHostKeyChecking": "accept-new" if login.host_keys == "accept-new" else "yes",
    }
    if login.known_hosts is not None:
        options["UserKnownHostsFile"] = '"' + os.path.expanduser(login.known_hosts) + '"'
    words = ["ssh", "-T"]
    for key, value in options.items():
        words += ["-o", f"{key}={value}"]
    return [*words, *_login_words(login), "--", host, shlex.join(command)]


def _login_words(login: Login) -> list[str]:
    words = ["-F", os.path.expanduser(login.ssh_config)] if login.ssh_config is not None else []
    words += ["-p", str(login.port)] if login.port is not None else []
    words += ["-l", login.user] if login.user is not None else []
    words += ["-i", os.path.expanduser(login.key_filename)] if login.key_filename is not None else []
    return words


def _verdict(host: str, words: str, login: Login, timeout_s: float) -> HostError:
    """Turn what ssh printed before it gave up into an error; its words are those of OpenSSH 7.6 to 10."""

    def found(pattern: str) -> re.Match[str] | None:
        return re.search(pattern, words)

    if match := found(r"Could not resolve hostname (\S+?): (.*)"):
        return verdicts.unknown_name(host, match[1], is_permanent="Temporary failure" not in match[2])
    if error := _host_key_verdict(host, words, login):
        return error
    if match := found(r"(\S+): Permission denied \(([^)]*)\)|Too many authentication failures"):
        user = (match[1] or login.user or "the user of ssh_config").partition("@")[0]
        return verdicts.login_refused(host, user, detail=match[2] or match[0])
    if match := found(r"connect to host (\S+) port (\d+): Connection refused"):
        return verdicts.refused(host, f"{match[1]} port {match[2]}")
    if found(r"timed out during banner exchange"):
        return verdicts.no_banner(host, timeout_s)
    if found(r"connect to host \S+ port \d+: (Connection|Operation) timed out"):
        return verdicts.no_connection(host, timeout_s)
    if match := found(
        r"banner line too long|banner line contains invalid characters|[Ii]nvalid format|No SSH version received"
    ):
        return verdicts.not_ssh(host, match[0])
    if match := found(r"(Bad configuration option|Can't open user config file|terminating, \d+ bad config).*"):
        return verdicts.bad_client_config(host, words)
    if match := found(r"(open failed|session request failed|exec request failed).*"):
        return verdicts.no_session(host, match[0])
    return verdicts.connection_closed(host, words or _NO_REASON)


def _host_key_verdict(host: str, words: str, login: Login) -> HostError | None:
    if "Host key verification failed" not in words:
        return None
    match = re.search(r"Host key for (\S+) has changed", words)
    fingerprint = next(iter(re.findall(r"(SHA256:[\w+/=]+)", words)), "")
    file = login.known_hosts or "the known_hosts file"
    if match or "HAS CHANGED" in words:
        offending = re.search(r"Offending \S+ key in (.+:\d+)", words)
        return verdicts.key_changed(host, offending[1] if offending else file, match[1] if match else host, fingerprint)
    unknown = re.search(r"host key is known for (.+) and you have requested", words)
    return verdicts.key_unknown(host, [file], unknown[1] if unknown else host, fingerprint)
