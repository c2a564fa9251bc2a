"""The way to a host: Login values first, then what ssh_config says for its name, as paramiko reads it."""

import getpass
import glob
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from paramiko import SSHConfig, SSHConfigDict
from paramiko.ssh_exception import SSHException

from pipeline.errors import HostError, HostNameError
from pipeline.hosts import verdicts
from pipeline.hosts.known_hosts import DEFAULT_PORT, name_in_known_hosts
from pipeline.model.hosts import Login, check_host_name, check_user_name

__all__ = ["Route", "find_route"]

_INCLUDES_DEEP = 16  # as in ssh
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^]]+\]|[^:]+)(?::(?P<port>\d+))?/?")


@dataclass(frozen=True, slots=True)
class Route:
    """
    How to reach and enter one sshd.

    Attributes:
        name: As the user calls it, a Host alias maybe.
        key_files: Private keys to try, in order.
        agent_keys: Which of ssh-agent's keys to try: `all`, those of `key_files` (`listed`), or `none`.
        jumps: Routes to go through, the first one first; () for none.
        proxy_command: argv whose stdin and stdout lead there; () for none.
        known_as: Its name in known_hosts.
        known_hosts: The user's files, then the system's; keys are added to the first.
        host_keys: `reject` or `accept-new`.
    """

    name: str
    address: str
    port: int
    user: str
    key_files: tuple[str, ...]
    agent_keys: str
    jumps: tuple["Route", ...]
    proxy_command: tuple[str, ...]
    known_as: str
    known_hosts: tuple[str, ...]
    host_keys: str


def find_route(host: str, login: Login) -> Route:
    """
    Look up the route to `host`.

    Raises:
        HostError: If ssh_config cannot be read or gives something that cannot be.
    """
    try:
        return _Lookup(host, login).route(host, login)
    except (HostNameError, SSHException) as error:
        raise _bad(host, login, str(error)) from error
    except ImportError:
        raise _bad(host, login, "paramiko cannot do `Match exec`; set ssh_client = openssh in [remote]") from None
    except (ValueError, KeyError, OSError) as error:
        # What a bad number, quote or CanonicalDomains becomes in paramiko; and files that are not text.
        problem = (error.strerror or str(error)) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise _bad(host, login, problem) from error


class _Lookup:
    """One reading of the configuration, for a host and the jump hosts before it."""

    def __init__(self, host: str, login: Login) -> None:
        self._host = host
        self._config = SSHConfig.from_text("\n".join(_config_lines(login)))
        self._visited: list[str] = []

    def route(self, name: str, login: Login, jumps: tuple[Route, ...] | None = None) -> Route:
        if name in self._visited:
            chain = " -> ".join([*self._visited, name])
            raise HostError(self._host, f"ProxyJump in ssh_config goes in a circle: {chain}", is_permanent=True)
        options = self._config.lookup(check_host_name(name))
        if jumps is None:
            self._visited.append(name)
            jumps = self._jumps(options.get("proxyjump") or "none", login)
            self._visited.pop()
        address = check_host_name(options["hostname"])
        port = login.port or int(options.get("port", DEFAULT_PORT))
        if not 0 < port < 1 << 16:
            raise ValueError(f"port {port} of {name}")
        key_files, agent_keys = _keys(self._host, options, login)
        alias = options.get("hostkeyalias")
        return Route(
            name=name,
            address=address,
            port=port,
            user=check_user_name(login.user or options.get("user") or getpass.getuser()),
            key_files=key_files,
            agent_keys=agent_keys,
            jumps=jumps,
            proxy_command=() if jumps else _proxy_command(options),
            known_as=alias.lower() if alias else name_in_known_hosts(address, port),
            known_hosts=_known_hosts(options, login),
            host_keys=login.host_keys,
        )

    def _jumps(self, text: str, login: Login) -> tuple[Route, ...]:
        """Routes of a ProxyJump; the first is reached as ssh_config says, each further one through those before."""
        routes: tuple[Route, ...] = ()
        for item in text.split(",") if text.lower() != "none" else ():
            match = _JUMP.fullmatch(item.strip())
            if match is None:
                raise ValueError(f"ProxyJump {text!r}: expected [user@]host[:port], several with commas between")
            port = int(match["port"]) if match["port"] else None
            hop = replace(login, user=match["user"], port=port, key_filename=None)
            name = match["host"].strip("[]")
            if not routes and name == (self._visited or [""])[-1]:
                continue  # `Host *` with a ProxyJump also matches the jump host itself
            routes += (self.route(name, hop, routes or None),)
        return routes


def _bad(host: str, login: Login, problem: str) -> HostError:
    return verdicts.bad_client_config(host, f"{login.ssh_config or '~/.ssh/config'}: {problem}")


def _config_lines(login: Login) -> Iterator[str]:
    if login.ssh_config is not None:
        yield from _lines(Path(login.ssh_config).expanduser(), Path("~/.ssh").expanduser())
        return
    for path in (Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")):
        if path.exists():
            yield from _lines(path, path.parent)
            yield "Host *"


def _lines(path: Path, folder: Path, deep: int = 0) -> Iterator[str]:
    """Lines of a file with `Include` carried out, which paramiko does not; `folder` is for relative paths."""
    if path.exists() and not path.is_file() and str(path) != os.devnull:
        raise ValueError(f"{path} is not a file")
    section = "Host *"
    for line in path.read_text("utf-8").splitlines():
        words = line.replace("=", " ", 1).split(None, 1)
        key = words[0].lower() if words else ""
        if key in ("host", "match"):
            section = line
        if key != "include" or len(words) < 2:
            # Paramiko takes a first and last quote off, even of several paths: `none`, which is no path, keeps them.
            yield f"{line.rstrip()} none" if key.endswith("knownhostsfile") else line
            continue
        if deep == _INCLUDES_DEEP:
            raise ValueError(f"{path}: Include goes too deep")
        for pattern in shlex.split(words[1]):
            for file in sorted(glob.glob(str(folder / os.path.expanduser(pattern)))):
                yield from _lines(Path(file), folder, deep + 1)
                yield section  # what follows the Include belongs to the section it stands in


def _keys(host: str, options: SSHConfigDict, login: Login) -> tuple[tuple[str, ...], str]:
    """Return key files that are there, and which keys of the agent to try."""
    identities = [path for path in options.get("identityfile", ()) if path.lower() != "none"]
    given = [os.path.expanduser(path) for path in identities]
    if login.key_filename is not None:
        key = os.path.expanduser(login.key_filename)
        if not os.access(key, os.R_OK):
            raise verdicts.no_such_key(host, login.key_filename, "no such file, or it cannot be read")
        given.insert(0, key)
    if not given:
        given = [os.path.expanduser(f"~/.ssh/{name}") for name in _DEFAULT_KEYS]
    # Missing ones are passed over, as ssh does; a .pub alone names a key that the agent holds.
    there = tuple(dict.fromkeys(path for path in given if os.path.exists(path) or os.path.exists(path + ".pub")))
    if (options.get("identityagent") or "").lower() == "none":
        return there, "none"
    return there, "listed" if (options.get("identitiesonly") or "").lower() == "yes" else "all"


def _known_hosts(options: SSHConfigDict, login: Login) -> tuple[str, ...]:
    user = options.get("userknownhostsfile") or "~/.ssh/known_hosts ~/.ssh/known_hosts2"
    system = options.get("globalknownhostsfile") or "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
    return _paths(user if login.known_hosts is None else [login.known_hosts]) + _paths(system)


def _paths(text: str | Sequence[str]) -> tuple[str, ...]:
    """Paths as given, or as they stand in one value of ssh_config."""
    words = shlex.split(text) if isinstance(text, str) else text
    return tuple(os.path.expanduser(word) for word in words if word.lower() != "none")


def _proxy_command(options: SSHConfigDict) -> tuple[str, ...]:
    command = options.get("proxycommand") or "none"
    words = shlex.split(command) if command.lower() != "none" else []
    return tuple(words[1:] if words[:1] == ["exec"] else words)  # `exec` is for the shell that we do not use
