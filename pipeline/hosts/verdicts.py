"""
The verdict on a host that cannot be used, in the same words whichever client found it.

Each function builds the error for one cause: what was found, and what to do where the user can do something.
"""

import re
from collections.abc import Sequence

from pipeline.errors import HostError, HostKeyError, LoginRefused

__all__ = [
    "bad_client_config",
    "connection_closed",
    "key_changed",
    "key_unknown",
    "login_refused",
    "no_answer_to_login",
    "no_banner",
    "no_connection",
    "no_session",
    "no_such_key",
    "not_ssh",
    "one_line",
    "refused",
    "too_busy",
    "unknown_name",
]

_LINE_CHARACTERS = 400
# What an sshd with MaxStartups or PerSourcePenalties says instead of its banner; ssh does not print it.
_TOO_BUSY = r"Exceeded MaxStartups|Not allowed at this time"


def one_line(text: str) -> str:
    """Return the end of `text` on one line: blanks folded, nothing in it that a terminal would act on."""
    folded = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return folded if len(folded) <= _LINE_CHARACTERS else "..." + folded[-_LINE_CHARACTERS:]


def unknown_name(host: str, name: str, *, is_permanent: bool = True) -> HostError:
    """No address for `name`; for good, or because no name server answers."""
    if not is_permanent:
        return HostError(host, f"no name server answers for {name!r}")
    reason = f"no address for the name {name!r}; is it spelt right, and known to DNS, /etc/hosts or ssh_config?"
    return HostError(host, reason, is_permanent=True)


def refused(host: str, where: str) -> HostError:
    """Nothing listens at `where`."""
    return HostError(host, f"connection refused by {where}; is sshd running there?")


def no_connection(host: str, timeout_s: float) -> HostError:
    """The TCP connection did not come about in time."""
    return HostError(host, f"no TCP connection in {timeout_s:g} s")


def no_banner(host: str, timeout_s: float) -> HostError:
    """Something accepted the connection and said nothing."""
    return HostError(host, f"no SSH banner in {timeout_s:g} s")


def not_ssh(host: str, sample: str) -> HostError:
    """Something answers that does not speak SSH, or not now; `sample` is the beginning of it."""
    if match := re.search(_TOO_BUSY, sample):
        return too_busy(host, match[0])
    return HostError(host, f"no SSH server: it answers with {one_line(sample)[:60]!r}")


def too_busy(host: str, words: str) -> HostError:
    """An sshd takes no more connections for now; `words` are its own."""
    advice = "lower connects_per_sshd in [remote], or see MaxStartups and PerSourcePenalties there"
    return HostError(host, f"sshd takes no connections now: {words!r}; {advice}")


def no_answer_to_login(host: str, timeout_s: float) -> HostError:
    """Banner received, but keys and authentication took too long."""
    return HostError(host, f"no answer to the login in {timeout_s:g} s")


def connection_closed(host: str, detail: str = "") -> HostError:
    """The other side, or the network, ended the connection."""
    return HostError(host, "connection closed" + (f": {one_line(detail)}" if detail.strip() else ""))


def no_session(host: str, detail: str) -> HostError:
    """Logged in, but sshd opens no session."""
    return HostError(host, f"sshd opens no session ({one_line(detail)}); see MaxSessions and its log there")


def login_refused(host: str, user: str, tried: Sequence[str] = (), detail: str = "") -> LoginRefused:
    """No key lets us in; `tried` names those offered."""
    what = f"tried {', '.join(tried)}" if tried else detail or "no key to offer"
    return LoginRefused(
        host,
        f"login as {user} refused ({one_line(what)}); put the public key into ~/.ssh/authorized_keys there, "
        "load the key into ssh-agent, or set user or key_filename in [remote]",
    )


def no_such_key(host: str, path: str, problem: str) -> LoginRefused:
    """The key the user named cannot be read."""
    return LoginRefused(host, f"key_filename {path}: {one_line(problem)}; give the path of a private key")


def key_unknown(host: str, files: Sequence[str], name: str, fingerprint: str = "") -> HostKeyError:
    """Nothing is known of `name`, as it is called in the known_hosts `files`."""
    shown = f" {fingerprint}" if fingerprint else ""
    return HostKeyError(
        host,
        f"host key{shown} is unknown: {name} is not in {' or '.join(files)}; check the key and log in once by hand, "
        "or set host_keys = accept-new in [remote]",
    )


def key_changed(host: str, where: str, name: str, fingerprint: str = "") -> HostKeyError:
    """`name` has other keys; `where` is the known_hosts file or file:line."""
    shown = f" {fingerprint}" if fingerprint else ""
    return HostKeyError(
        host,
        f"host key{shown} has changed: it is not the one of {name} in {where}; if the host was installed anew, remove "
        f"the old key: ssh-keygen -R '{name}' -f {where.partition(':')[0]}",
    )


def bad_client_config(host: str, problem: str) -> HostError:
    """ssh_config cannot be used; `problem` says which file, what, and what to do."""
    return HostError(host, one_line(problem), is_permanent=True)
