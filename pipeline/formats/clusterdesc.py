"""
Cluster descriptions: which nodes compute, which keep data, which are logged in to, and what disks each has.

A parset with the keys of the original framework; sub-clusters are files of their own, which the caller reads.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.errors import HostNameError, ParsetError
from pipeline.formats.interpolation import close_match
from pipeline.formats.parset import Parset
from pipeline.formats.values import quote_value
from pipeline.model.hosts import check_host_name, expand_hosts

__all__ = ["KINDS", "MAX_NODES", "ClusterDesc", "ClusterNode", "Include", "ParsedCluster", "parse_clusterdesc"]

KINDS = ("compute", "storage", "head")
MAX_NODES = 100_000
MAX_INCLUDES = 1000
_MAX_ELEMENTS = 1_000_000  # of all lists of a file together
_MAX_PROBLEMS = 100

_SECTIONS = {"Compute.": "compute", "Storage.": "storage", "Head.": "head", "": "any"}
_DISKS = ("LocalDisks", "RemoteDisks", "RemoteFileSys")
_KNOWN = [
    *("ClusterName", "SubClusters", "NNodes", "Node0.NodeName", "Node0.NodeFileSys", "Node0.NodeMountPoints"),
    *(section + key for section in _SECTIONS for key in ("Nodes", *_DISKS)),
]


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """
    A node and its disks.

    Attributes:
        kind: compute, storage or head; `any` serves as all of them.
        local_disks: (n,) where its own disks are mounted, e.g. /data.
        remote_disks: (m,) where disks of other nodes are mounted, e.g. /net/sub1/lse001/data1.
        remote_file_systems: (m,) what is mounted at each of the remote_disks, e.g. /lse001:/data1.
    """

    name: str
    kind: str
    local_disks: tuple[str, ...] = ()
    remote_disks: tuple[str, ...] = ()
    remote_file_systems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterDesc:
    """
    A cluster.

    Attributes:
        nodes: Its own, not those of sub-clusters: compute, storage, head nodes, each kind in the order of the file.
        subclusters: Those named in its file, by their ClusterName, in the order of the file.
    """

    name: str
    nodes: tuple[ClusterNode, ...] = ()
    subclusters: Mapping[str, "ClusterDesc"] = field(default_factory=dict)

    @property
    def compute(self) -> list[str]:
        """Names of its own compute nodes."""
        return self._own("compute")

    @property
    def storage(self) -> list[str]:
        """Names of its own storage nodes."""
        return self._own("storage")

    @property
    def head(self) -> list[str]:
        """Names of its own head nodes."""
        return self._own("head")

    def all_nodes(self, kind: str) -> list[str]:
        """Return the names of its nodes of a kind, then those of its sub-clusters and theirs; each name once."""
        return list(dict.fromkeys(name for cluster in self._walk(set()) for name in cluster._own(kind)))

    def _own(self, kind: str) -> list[str]:
        if kind not in KINDS:
            raise ValueError(f"kind: expected {', '.join(KINDS)}, got {kind!r}")
        return [node.name for node in self.nodes if node.kind in (kind, "any")]

    def _walk(self, seen: set[int]) -> Iterator["ClusterDesc"]:
        if id(self) not in seen:  # one that two clusters share is met once
            seen.add(id(self))
            yield self
            for subcluster in self.subclusters.values():
                yield from subcluster._walk(seen)


@dataclass(frozen=True, slots=True)
class Include:
    """A file that SubClusters names; `where` is the place of the key, file:line:column."""

    file: str
    where: str


@dataclass(frozen=True, slots=True)
class ParsedCluster:
    """What one file says: the cluster without its sub-clusters, their files, and warnings of a line each."""

    cluster: ClusterDesc
    includes: tuple[Include, ...]
    warnings: tuple[str, ...]


def parse_clusterdesc(text: str, source: str = "<text>") -> ParsedCluster:
    """
    Read one cluster description.

    Ranges in lists are expanded (`[lce001..72]`), names of nodes may also be folded (`lce[001-072]`).

    Args:
        source: Name of the file, for messages.

    Raises:
        ParsetError: With all problems of the file, each `file:line:column: key: expected ..., got ...`.
    """
    # Not as the original reads it: a line that means something else than it says could leave a cluster without nodes.
    keys = _Keys(Parset.parse(text, source=source, strict=True))
    name = keys.name(source)
    nodes = (*_numbered_nodes(keys), *(node for section in _SECTIONS for node in _section_nodes(keys, section)))
    includes = keys.includes()
    if len(nodes) > MAX_NODES:
        keys.problems.append(f"{source}: expected at most {MAX_NODES} nodes, got {len(nodes)}")
    if keys.problems:
        raise ParsetError(keys.problems[:_MAX_PROBLEMS])
    return ParsedCluster(ClusterDesc(name, nodes), includes, (*keys.parset.warnings, *keys.unknown()))


class _Keys:
    """The keys of a description, typed; what is wrong with them is kept in `problems`."""

    def __init__(self, parset: Parset) -> None:
        self.parset = parset
        self.problems: list[str] = []
        self._n_left = _MAX_ELEMENTS
        self._nodes: set[tuple[str, str]] = set()  # kind and name

    def complain(self, key: str, problem: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS:  # to find out where costs as much as the file is long
            self.problems.append(f"{self.parset.where(key)}: {_shown(key)}: {problem}")

    def name(self, source: str) -> str:
        if "ClusterName" not in self.parset:
            self.problems.append(f"{source}: expected a key ClusterName, got none")
            return ""
        name = self.one("ClusterName")
        if not name:
            self.complain("ClusterName", "expected a name, got nothing")
        return name

    def includes(self) -> tuple[Include, ...]:
        files = self.elements("SubClusters")
        if len(files) > MAX_INCLUDES:
            self.complain("SubClusters", f"expected at most {MAX_INCLUDES} files, got {len(files)}")
        elif "" in files:
            self.complain("SubClusters", "expected names of files, got an empty one")
        return tuple(Include(file, self.parset.where("SubClusters")) for file in files[:MAX_INCLUDES])

    def one(self, key: str) -> str:
        """Return text; empty if the key is not there or wrong."""
        try:
            return self.parset.get_string(key, "")
        except ParsetError as error:
            self.problems += error.problems
            return ""

    def count(self, key: str) -> int | None:
        try:
            return self.parset.get_int(key) if key in self.parset else None
        except ParsetError as error:
            self.problems += error.problems
            return None

    def elements(self, key: str) -> tuple[str, ...]:
        """Return a list, expanded; empty if the key is not there or wrong."""
        try:
            values = self.parset.get_string_vector(key, [], expand=True) if self._n_left else []
        except ParsetError as error:
            self.problems += error.problems
            return ()
        if self._n_left and len(values) > self._n_left:
            self.complain(key, f"expected at most {_MAX_ELEMENTS} elements in all lists of the file, got more")
        self._n_left = max(0, self._n_left - len(values))
        return tuple(values)

    def paths(self, key: str) -> tuple[str, ...]:
        values = self.elements(key)
        if wrong := [value for value in values if not value.startswith("/")]:
            self.complain(key, f"expected absolute paths, got {quote_value(wrong[0])}")
        return values

    def hosts(self, key: str, kind: str) -> tuple[str, ...]:
        """Return names of nodes of a kind, those of folded lists in order."""
        names: list[str] = []
        for element in self.elements(key):
            if len(names) > MAX_NODES or len(self.problems) >= _MAX_PROBLEMS:
                break  # a folded list is short and may be many names
            try:
                is_folded = "[" in element or "," in element
                names += expand_hosts(element) if is_folded else [check_host_name(element)]
            except HostNameError as error:
                self.complain(key, str(error))
        self.check_new(key, kind, names)
        return tuple(names)

    def check_new(self, key: str, kind: str, names: Sequence[str]) -> None:
        """Complain if a node is there already as one of this kind; `any` is each kind."""
        kinds = KINDS if kind == "any" else (kind,)
        again = [
            name for name, n in Counter(names).items() if n > 1 or any((one, name) in self._nodes for one in kinds)
        ]
        if again:
            self.complain(key, f"expected each node once, got {quote_value(again[0])} again")
        self._nodes.update((one, name) for one in kinds for name in names)

    def unknown(self) -> list[str]:
        """Say of each key that nobody asked for that it has no effect."""
        return [
            f"{self.parset.where(key)}: {_shown(key)}: {_meant(key)}" for key in self.parset.unused()[:_MAX_PROBLEMS]
        ]


def _shown(key: str) -> str:
    return key if len(key) < 300 and key.isprintable() else quote_value(key)  # as long as a host's name can make it


def _meant(key: str) -> str:
    """Return what was expected instead of a key without effect."""
    for section in _SECTIONS:
        for disks in _DISKS:
            if key.startswith(start := f"{section}{disks}."):
                return f"expected the name of one of {section}Nodes, got {quote_value(key.removeprefix(start))}"
    return f"expected a key of a cluster description{close_match(key, _KNOWN)}"


def _numbered_nodes(keys: _Keys) -> Iterator[ClusterNode]:
    """The form with NNodes: each node by itself."""
    parset, i = keys.parset, 0
    while f"Node{i}.NodeName" in parset:
        yield _numbered_node(keys, f"Node{i}.")
        i += 1
    expected = keys.count("NNodes")
    if expected is not None and expected != i:
        keys.complain("NNodes", f"expected the number of nodes from Node0.NodeName on, {i}, got {expected}")


def _numbered_node(keys: _Keys, prefix: str) -> ClusterNode:
    name = keys.one(f"{prefix}NodeName")
    try:
        check_host_name(name)
    except HostNameError as error:
        keys.complain(f"{prefix}NodeName", str(error))
    else:
        keys.check_new(f"{prefix}NodeName", "any", [name])
    systems, mounts = keys.elements(f"{prefix}NodeFileSys"), keys.paths(f"{prefix}NodeMountPoints")
    if len(systems) != len(mounts):
        key = f"{prefix}NodeFileSys" if systems else f"{prefix}NodeMountPoints"
        keys.complain(key, f"expected as many mount points as file systems, got {len(mounts)} and {len(systems)}")
    pairs = list(zip(systems, mounts, strict=False))
    remote = [(system, mount) for system, mount in pairs if system != f"{name}:{mount}"]
    local = [mount for system, mount in pairs if system == f"{name}:{mount}"]
    return ClusterNode(
        name, "any", tuple(local), tuple(mount for _, mount in remote), tuple(system for system, _ in remote)
    )


def _section_nodes(keys: _Keys, section: str) -> Iterator[ClusterNode]:
    """The short form: nodes of one kind have the same disks, except where a key names a node."""
    if f"{section}Nodes" not in keys.parset:
        starts = tuple(f"{section}{disks}." for disks in _DISKS)
        if others := [key for key in keys.parset if f"{key}.".startswith(starts)]:
            keys.complain(others[0], f"expected {section}Nodes beside it, got none")
        return
    common = _with_disks(keys, section, "", ClusterNode("", _SECTIONS[section]))
    for name in keys.hosts(f"{section}Nodes", common.kind):
        yield replace(_with_disks(keys, section, f".{name}", common), name=name)


def _with_disks(keys: _Keys, section: str, own: str, node: ClusterNode) -> ClusterNode:
    """Return a node with the disks of the keys that end with `own`, its others as they are."""
    local, remote, systems = node.local_disks, node.remote_disks, node.remote_file_systems
    if f"{section}LocalDisks{own}" in keys.parset:
        local = keys.paths(f"{section}LocalDisks{own}")
    if f"{section}RemoteDisks{own}" in keys.parset:
        remote = systems = keys.paths(f"{section}RemoteDisks{own}")  # file systems of the same names
    if (key := f"{section}RemoteFileSys{own}") in keys.parset:
        systems = keys.elements(key) or remote
        if len(systems) != len(remote):
            keys.complain(key, f"expected none or one for each of RemoteDisks, {len(remote)}, got {len(systems)}")
    return replace(node, local_disks=local, remote_disks=remote, remote_file_systems=systems)
