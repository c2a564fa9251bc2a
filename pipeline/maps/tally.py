"""What is in a map: how many files on which hosts, and what looks wrong."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.model.hosts import fold_hosts
from pipeline.model.products import DataProduct, MultiDataProduct

__all__ = ["HostTally", "add_up", "doubts", "files_of", "fold_tallies", "paths_by_host", "tally_hosts"]

_Products = Sequence[DataProduct | MultiDataProduct]
_SizeOf = Callable[[str, str], int | None]


@dataclass(slots=True)
class HostTally:
    """
    What one host has.

    Attributes:
        entries, files, skipped: Numbers of entries, of files in them, and of files that are skipped.
        n_bytes: Of the files whose size is known.
        unsized: Number of files whose size is not.
    """

    entries: int = 0
    files: int = 0
    skipped: int = 0
    n_bytes: int = 0
    unsized: int = 0


def files_of(products: _Products) -> Iterator[tuple[str, str, bool]]:
    """Yield host, file and whether it is skipped, for each file of each entry."""
    for one in products:
        if isinstance(one, DataProduct):
            yield one.host, one.file, one.skip
        else:
            for file, is_skipped in zip(one.file, one.file_skip, strict=True):
                yield one.host, file, one.skip or is_skipped


def paths_by_host(products: _Products) -> dict[str, list[str]]:
    """Return the paths of the files of each host that are not skipped, each once, in the order of the map."""
    paths: dict[str, dict[str, None]] = {}
    for host, file, is_skipped in files_of(products):
        if not is_skipped:
            paths.setdefault(host, {})[file] = None
    return {host: list(of_host) for host, of_host in paths.items()}


def tally_hosts(products: _Products, size_of: _SizeOf | None = None) -> dict[str, HostTally]:
    """
    Count by host, in the order in which they first appear.

    Args:
        products: The entries of a map.
        size_of: Returns the bytes of a host's file, or None where that is not known.
    """
    tallies: dict[str, HostTally] = {}
    for one in products:
        tallies.setdefault(one.host, HostTally()).entries += 1
    for host, file, is_skipped in files_of(products):
        tally = tallies[host]
        tally.files += 1
        tally.skipped += is_skipped
        size = size_of(host, file) if size_of else None
        tally.n_bytes += size or 0
        tally.unsized += size is None
    return tallies


def fold_tallies(tallies: dict[str, HostTally]) -> list[tuple[str, HostTally]]:
    """Return (folded hosts, what each of them has), hosts with the same on one line."""
    alike: dict[tuple[int, ...], list[str]] = {}
    for host, tally in tallies.items():
        what = (tally.entries, tally.files, tally.skipped, tally.n_bytes, tally.unsized)
        alike.setdefault(what, []).append(host)
    return [(fold_hosts(hosts), tallies[hosts[0]]) for hosts in alike.values()]


def doubts(products: _Products) -> Iterator[str]:
    """Yield a line for each path that is legal and probably a mistake: a blank in it, not absolute, there twice."""
    seen: set[tuple[str, str]] = set()
    for number, (host, file, _) in enumerate(files_of(products), 1):
        where = f"file {number}, {file!r} on {host}"
        if not file.startswith("/"):
            yield f"{where}: is no absolute path"
        if any(c.isspace() for c in file):
            yield f"{where}: has a blank in it"
        if (host, file) in seen:
            yield f"{where}: is there twice"
        seen.add((host, file))


def add_up(tallies: Iterable[HostTally]) -> HostTally:
    """Add up."""
    total = HostTally()
    for one in tallies:
        total.entries += one.entries
        total.files += one.files
        total.skipped += one.skipped
        total.n_bytes += one.n_bytes
        total.unsized += one.unsized
    return total
