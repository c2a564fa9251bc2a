"""
Rules that tell from the name of a file which host it is on, or which sub-cluster can reach it.

    subcluster  the third part of `/net/sub3/lse007/data2/L1.MS` is the sub-cluster whose compute nodes can reach it
    storage     the fourth part is the host, and what follows is the file as that host sees it
    nfs         every compute node of the cluster can reach every file
    REGEX       a regular expression of one's own, with groups `host` or `subcluster`, and perhaps `file`
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.errors import HostNameError, MapfileError
from pipeline.maps.deal import deal
from pipeline.model.hosts import check_host_name
from pipeline.model.products import DataProduct

__all__ = ["WHOLE_CLUSTER", "Rule", "map_files"]

WHOLE_CLUSTER = ""  # its key beside the names of sub-clusters
_MAX_PROBLEMS = 100
_MAX_SHOWN = 10

# What follows one another cannot match the same character: the time is linear. The `file` group may be any text.
_NAMED = {
    "subcluster": (r"(?s)\A/+[^/]+/+(?P<subcluster>[^/]+)/.", "a path like /net/<sub-cluster>/..."),
    "storage": (
        r"(?s)\A/+[^/]+/+[^/]+/+(?P<host>[^/]+)(?P<file>/.+)",
        "a path like /net/<sub-cluster>/<host>/<file>",
    ),
    "nfs": ("", "any path"),
}


class Rule:
    """
    One of the rules above.

    Attributes:
        needs_cluster: It tells a sub-cluster, or nothing: the compute nodes must be known.
    """

    def __init__(self, text: str) -> None:
        """
        Take the name of a rule, or a regular expression that is looked for in the path.

        Raises:
            MapfileError: For what is no regular expression, or one without a group that says where.
        """
        regex, self._expected = _NAMED.get(text, (text, f"a path in which {text!r} is found"))
        try:
            self._pattern = re.compile(regex)
        except (re.error, RecursionError, OverflowError) as error:
            names = ", ".join(_NAMED)
            raise MapfileError(
                f"rule {text!r}: expected {names} or a regular expression, got an error: {error}"
            ) from None
        self._groups = {"host", "subcluster"} & set(self._pattern.groupindex)
        if text not in _NAMED and not self._groups:
            raise MapfileError(f"rule {text!r}: expected a group (?P<host>...) or (?P<subcluster>...), got neither")
        self.needs_cluster = self._groups != {"host"}

    def place(self, file: str) -> "Place":
        """
        Return where a file belongs.

        Raises:
            MapfileError: If the rule does not fit, or what it finds cannot be a host's name or a path.
        """
        match = self._pattern.search(file)
        found = {name: text for name, text in match.groupdict().items() if text is not None} if match else {}
        if match is None or (self._groups and not self._groups & found.keys()):
            raise MapfileError(f"expected {self._expected}")
        seen = found.get("file", file)
        if not seen.startswith("/"):
            raise MapfileError(f"expected an absolute path, got {seen!r}")
        try:
            host = check_host_name(found["host"]) if "host" in found else ""
        except HostNameError as error:
            raise MapfileError(str(error)) from None
        return Place(seen, host, found.get("subcluster", WHOLE_CLUSTER))


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where a file belongs: on a host, or, where that is empty, on any compute node of a sub-cluster.

    Attributes:
        file: Its path as the host sees it.
    """

    file: str
    host: str
    subcluster: str


def map_files(
    files: Sequence[str],
    rule: Rule,
    pools: Mapping[str, Sequence[str]],
    *,
    by: str = "turn",
    sizes: Sequence[int] | None = None,
) -> list[DataProduct]:
    """
    Map files to hosts; where a rule leaves the choice, the compute nodes of each sub-cluster get files by turns.

    Args:
        files: (n,) absolute paths.
        pools: Compute nodes by sub-cluster, and those of the whole cluster at WHOLE_CLUSTER. If there is nothing
            else, they serve whatever sub-cluster a rule tells.
        by: `turn`, or `size`: each node gets about the same number of bytes.
        sizes: (n,) bytes, for `size`.

    Returns:
        (n,) each file once; hosts in the order in which they first come up, files of a host in the order given.

    Raises:
        MapfileError: With a line for each file that cannot be mapped, 100 at most.
    """
    places, problems = [], []
    for file in files:
        try:
            place = rule.place(file)
            places.append(place if place.host else Place(place.file, "", _pool_of(place, pools)))
        except MapfileError as error:
            problems.append(f"file {file!r}: not mapped: {error}")
    if problems:
        n_more = len(problems) - _MAX_PROBLEMS
        rest = [f"... and {n_more} more files that are not mapped"] if n_more > 0 else []
        raise MapfileError([*problems[:_MAX_PROBLEMS], *rest])
    return _grouped(_dealt(places, pools, by, sizes))


def _pool_of(place: Place, pools: Mapping[str, Sequence[str]]) -> str:
    has_subclusters = any(name != WHOLE_CLUSTER for name in pools)
    name = place.subcluster if has_subclusters else WHOLE_CLUSTER
    if name not in pools:
        known = [one for one in pools if one != WHOLE_CLUSTER]
        dots = ", ..." if len(known) > _MAX_SHOWN else ""
        raise MapfileError(f"expected a sub-cluster, {', '.join(known[:_MAX_SHOWN])}{dots}, got {name!r}")
    if not pools[name]:
        where = f"sub-cluster {name!r}" if name else "the cluster"
        raise MapfileError(f"expected compute nodes, {where} has none")
    return name


def _dealt(
    places: Sequence[Place], pools: Mapping[str, Sequence[str]], by: str, sizes: Sequence[int] | None
) -> list[DataProduct]:
    """Give each place without a host one of its pool; the order is kept."""
    numbers: dict[str, list[int]] = {}
    for number, place in enumerate(places):
        if not place.host:
            numbers.setdefault(place.subcluster, []).append(number)
    products = [DataProduct(place.host, place.file) for place in places]
    for pool, members in numbers.items():
        of = None if sizes is None else [sizes[number] for number in members]
        dealt = deal([places[number].file for number in members], pools[pool], by=by, sizes=of)
        for number, product in zip(members, dealt, strict=True):
            products[number] = product
    return products


def _grouped(products: Iterable[DataProduct]) -> list[DataProduct]:
    of_host: dict[str, list[DataProduct]] = {}
    for product in products:
        of_host.setdefault(product.host, []).append(product)
    return [product for group in of_host.values() for product in group]
