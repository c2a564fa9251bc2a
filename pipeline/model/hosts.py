"""Names of hosts and users, folded host lists, and what it takes to log in."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import HostNameError

__all__ = ["Login", "check_host_name", "check_user_name", "expand_hosts", "fold_hosts"]

# Letters, digits, "._-"; the first is no "-", or ssh would take it for an option. Or an IPv6 address.
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?")
_FOLDED = re.compile(r"\[(?P<ranges>[^\[\]]*)\]|[,!&^\s]")
_COMMA = re.compile(r"\[[^\]]*+\]?|(,)")
_MAX_FOLDED = 100_000
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,63}\$?")


@dataclass(frozen=True, slots=True)
class Login:
    """
    How to log in to hosts over SSH; None leaves the choice to ssh_config and the client's defaults.

    Attributes:
        ssh_config: Path of the ssh_config to read; None is ~/.ssh/config and the system's.
        known_hosts: Path of the known_hosts file to use instead of the user's.
        host_keys: `reject` refuses a host whose key is not known; `accept-new` stores it.
    """

    user: str | None = None
    port: int | None = None
    key_filename: str | None = None
    ssh_config: str | None = None
    known_hosts: str | None = None
    host_keys: str = "reject"


def check_host_name(name: str) -> str:
    """
    Return `name` if it can be a host's.

    Raises:
        HostNameError: Before any process is started or any name looked up.
    """
    if not isinstance(name, str) or not _HOST.fullmatch(name):
        raise HostNameError(f"host {name!r}: expected a host name (letters, digits, '.', '_', '-', not first '-')")
    return name


def check_user_name(name: str) -> str:
    """Return `name` if it can be a user's; raise HostNameError otherwise."""
    if not isinstance(name, str) or not _USER.fullmatch(name):
        raise HostNameError(f"user {name!r}: expected a user name (letters, digits, '.', '_', '-')")
    return name


def expand_hosts(folded: str) -> list[str]:
    """
    Expand `lce[001-003],heastro1` to its names, each once; the names of a range are in ascending order.

    Between ranges and names the order is that of the list, but for one with operators (`a,b!c`), which is sorted.

    Raises:
        HostNameError: If it is no host list, holds over 100,000 names, or a name in it cannot be a host's.
    """
    if _count_folded(folded) > _MAX_FOLDED:
        raise HostNameError(f"host list {folded[:100]!r}: expected at most {_MAX_FOLDED} names")
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException  # 60 ms, rarely needed

    names: dict[str, None] = {}
    try:
        for part in _parts(folded):
            is_name = _HOST.fullmatch(part)  # thousands of names are common
            names.update(dict.fromkeys([part] if is_name else NodeSet(part, resolver=RESOLVER_NOGROUP)))
    except NodeSetException as error:
        raise HostNameError(f"host list {folded!r}: {error}; expected e.g. lce[001-072],heastro1") from None
    return [check_host_name(name) for name in names]


def fold_hosts(names: Iterable[str]) -> str:
    """Fold names to the shortest list, e.g. `lce[001-072]`."""
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet

    return str(NodeSet.fromlist(list(names), resolver=RESOLVER_NOGROUP))


def _parts(folded: str) -> list[str]:
    """Split at the commas outside brackets; a NodeSet would sort the parts."""
    commas = [match.start() for match in _COMMA.finditer(folded) if match[1]]
    starts, ends = [0, *(comma + 1 for comma in commas)], [*commas, len(folded)]
    parts = [folded[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    # Operators work on all that is before them, and what is wrong with `a,,b` the parser tells.
    return parts if all(parts) and not set("!&^") & set(folded) else [folded]


def _count_folded(folded: str) -> float:
    """Return how many names a host list can hold at most, without expanding it: `lce[1-10000000000]` is short."""
    n_names, n_of_part = 0.0, 1.0
    for token in _FOLDED.finditer(folded):
        if token["ranges"] is None:  # the names that follow are others
            n_names, n_of_part = n_names + n_of_part, 1.0
        else:
            n_of_part *= sum(_count_range(one) for one in token["ranges"].split(","))
    return n_names + n_of_part


def _count_range(text: str) -> float:
    first, _, last = (number.strip() for number in text.partition("/")[0].partition("-"))
    if not (first.isdecimal() and last.isdecimal()):
        return 1.0
    return max(1.0, float(last) - float(first) + 1.0)
