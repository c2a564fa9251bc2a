"""Both sides of a login with paramiko: is it the host we know, and which keys do we offer."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import paramiko
from paramiko.auth_strategy import AuthSource, AuthStrategy, InMemoryPrivateKey

from pipeline.errors import HostError
from pipeline.hosts import verdicts
from pipeline.hosts.known_hosts import KnownKey, add_key, find_keys
from pipeline.hosts.routes import Route

__all__ = ["HostKeyCheck", "OfferedKeys"]

_PORT_SIGN = "]:"


class HostKeyCheck(paramiko.MissingHostKeyPolicy):
    """
    Decides on every host key: paramiko's own lists stay empty, so it asks for all.

    Attributes:
        kinds: Key types known of the host, which the host should be asked for first.
    """

    def __init__(self, host: str, route: Route) -> None:
        """Read what is known of the route's host; `host` is for messages."""
        self._host = host
        self._route = route
        self._known = find_keys(route.known_hosts, route.known_as)
        if not self._known and _PORT_SIGN in route.known_as:
            # As ssh does: a key known without the port is good with it; but that another one is known is no proof.
            self._portless = find_keys(route.known_hosts, route.address.lower())
        else:
            self._portless = []
        self.kinds = {key.kind for key in (*self._known, *self._portless)}

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Return if `key` is the host's, raise HostKeyError if not."""
        text = key.get_base64()
        known = self._known or [found for found in self._portless if found.text == text]
        if not known and self._route.host_keys == "accept-new" and self._route.known_hosts:
            known = self._add(key)
        self._check(known, key)

    def _add(self, key: paramiko.PKey) -> list[KnownKey]:
        file = self._route.known_hosts[0]
        try:
            return add_key(file, self._route.known_as, key.get_name(), key.get_base64())
        except OSError as error:
            problem = f"cannot add the host key to {file}: {error.strerror}; set known_hosts in [remote]"
            raise HostError(self._host, problem, is_permanent=True) from error

    def _check(self, known: list[KnownKey], key: paramiko.PKey) -> None:
        name, shown = self._route.known_as, f"{key.get_name()} {key.fingerprint}"
        if not known:
            raise verdicts.key_unknown(self._host, self._route.known_hosts[:1], name, shown)
        same = [found for found in known if found.text == key.get_base64()]
        revoked = [found for found in same if found.is_revoked]
        if revoked or not same:
            raise verdicts.key_changed(self._host, (revoked or known)[0].where, name, shown)


class OfferedKeys(AuthStrategy):
    """
    Offers the route's keys, one after the other: files first, then what else the agent holds.

    Attributes:
        tried: What has been offered or could not be, for the message.
    """

    def __init__(self, route: Route) -> None:
        """Offer the keys of `route`."""
        super().__init__(ssh_config=paramiko.SSHConfig())
        self._route = route
        self.tried: list[str] = []

    def get_sources(self) -> Iterator[AuthSource]:
        """Yield keys; called by paramiko."""
        if self._route.agent_keys == "none":
            yield from self._sources({})
            return
        with closing(paramiko.Agent()) as agent:
            yield from self._sources({key.get_base64(): key for key in agent.get_keys()})

    def _sources(self, agent_keys: dict[str, paramiko.AgentKey]) -> Iterator[AuthSource]:
        for path in self._route.key_files:
            # Through the agent if it holds the key: the file may have a passphrase.
            key = agent_keys.pop(_public_text(path), None) or self._load(path)
            if key is not None:
                self.tried.append(path)
                yield InMemoryPrivateKey(self._route.user, key)
        if self._route.agent_keys == "all":
            for agent_key in agent_keys.values():
                self.tried.append(f"ssh-agent's {agent_key.fingerprint}")
                yield InMemoryPrivateKey(self._route.user, agent_key)

    def _load(self, path: str) -> paramiko.PKey | None:
        try:
            return paramiko.PKey.from_path(path)
        except (TypeError, paramiko.PasswordRequiredException):  # TypeError: cryptography's word for it
            self.tried.append(f"{path} (has a passphrase and is not in ssh-agent)")
        except OSError as error:
            self.tried.append(f"{path} ({error.strerror})")
        except Exception as error:  # noqa: BLE001  # what a damaged file becomes is cryptography's secret
            self.tried.append(f"{path} (not a private key: {error})")
        return None


def _public_text(path: str) -> str:
    """Return the base64 text of the public key beside a private one, empty if there is none."""
    for file in (path, path + ".pub"):
        try:
            words = Path(file).read_bytes()[:65536].decode("ascii", "replace").split()
        except OSError:
            continue
        if len(words) > 1 and words[0].startswith(("ssh-", "ecdsa-", "sk-")):
            return words[1]
    return ""
