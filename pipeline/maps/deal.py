"""
Dealing files to hosts, each file exactly once.

    turn  the next host each time
    size  longest first to the host with least, so that hosts get about the same number of bytes
    hash  the same file always goes to the same host, and few files move when a host comes or goes
    key   files with the same key go to the same host; a new key to the host with the fewest files

All but `size` look at one file at a time, and need no memory for those they have dealt.
"""

import hashlib
import heapq
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pipeline.errors import MapfileError
from pipeline.model.products import DataProduct

__all__ = ["deal", "deal_in_stream"]

_POINTS_PER_HOST = 512  # the hosts' shares of the ring then differ by about 1 / sqrt(512), 4 %
_SHIFT = 32  # bits for the number of a host
_Choose = Callable[[str], int]


def deal(
    files: Sequence[str],
    hosts: Iterable[str],
    *,
    by: str = "turn",
    sizes: Mapping[str, int] | Sequence[int] | None = None,
    key: Callable[[str], str] | None = None,
    max_per_host: int | None = None,
) -> list[DataProduct]:
    """
    Deal files to hosts.

    Args:
        files: (n,) absolute paths as the host sees them.
        hosts: (h,) host names, h >= 1; one that is named twice counts once.
        by: turn, size, hash or key, see above.
        sizes: For `size`: bytes by file, or (n,) bytes in the order of the files.
        key: For `key`: returns the key of a file.
        max_per_host: Most files for one host; None means no limit. With `hash` a file whose host is full goes to the
            next one on the ring.

    Returns:
        (n,) each file exactly once, in the order given.

    Raises:
        MapfileError: If there is no room for a file; names the first one left over.
    """
    if by == "size":
        return _deal_by_size(files, hosts, sizes, max_per_host)
    return list(deal_in_stream(files, hosts, by=by, key=key, max_per_host=max_per_host))


def deal_in_stream(
    files: Iterable[str],
    hosts: Iterable[str],
    *,
    by: str = "turn",
    key: Callable[[str], str] | None = None,
    max_per_host: int | None = None,
) -> Iterator[DataProduct]:
    """Deal as `deal` does by turn, hash or key, one file after the other: (n,) entries, however large n is."""
    names = _checked_hosts(hosts)
    counts = [0] * len(names)
    limit = _checked_limit(max_per_host)
    choose = _chooser(by, names, key, counts, limit)
    for file in files:
        at = choose(file)
        if counts[at] >= limit:
            raise _no_room(file, names, max_per_host, sum(counts))
        counts[at] += 1
        yield DataProduct(names[at], file)


def _chooser(
    by: str, hosts: Sequence[str], key: Callable[[str], str] | None, counts: list[int], limit: float
) -> _Choose:
    """Return what tells the number of the host of a file; `counts` is kept up to date by the caller."""
    if by == "turn":
        return _in_turn(len(hosts))
    if by == "hash":
        return _by_hash(hosts, counts, limit)
    if by == "key" and key is not None:
        return _by_key(key, counts)
    expected = "a key for every file" if by == "key" else "turn, size, hash or key"
    raise MapfileError(f"deal by {by!r}: expected {expected}")


def _in_turn(n_hosts: int) -> _Choose:
    following = -1

    def choose(_: str) -> int:
        nonlocal following
        following = following + 1 if following + 1 < n_hosts else 0
        return following

    return choose


def _by_hash(hosts: Sequence[str], counts: list[int], limit: float) -> _Choose:
    """
    Return a chooser after Karger et al. 1997: each host has points on a ring, a file belongs to the next point.

    Not rendezvous hashing: that asks every host about every file, 0.5 ms a file with 1,000 hosts.
    """
    # Point and number of its host in one integer: half the memory of pairs, and bisect needs no second list.
    ring = sorted(point << _SHIFT | at for at, host in enumerate(hosts) for point in _points(host))
    mask = (1 << _SHIFT) - 1

    def choose(file: str) -> int:
        digest = hashlib.blake2b(file.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        start = bisect_left(ring, int.from_bytes(digest, "big") << _SHIFT)
        at = ring[start % len(ring)] & mask
        if counts[at] < limit:
            return at
        around = (ring[(start + i) % len(ring)] & mask for i in range(1, len(ring)))
        return next((other for other in around if counts[other] < limit), at)

    return choose


def _points(host: str) -> Iterable[int]:
    return struct.unpack(f">{_POINTS_PER_HOST}Q", hashlib.shake_256(host.encode()).digest(8 * _POINTS_PER_HOST))


def _by_key(key: Callable[[str], str], counts: list[int]) -> _Choose:
    host_of: dict[str, int] = {}
    # One entry for each host. Counts only grow: one that is out of date is too low, and is put right when it comes up.
    heap = [(0, at) for at in range(len(counts))]

    def choose(file: str) -> int:
        name = key(file)
        if name not in host_of:
            while heap[0][0] < counts[heap[0][1]]:
                heapq.heapreplace(heap, (counts[heap[0][1]], heap[0][1]))
            host_of[name] = heap[0][1]
        return host_of[name]

    return choose


def _deal_by_size(
    files: Sequence[str],
    hosts: Iterable[str],
    sizes: Mapping[str, int] | Sequence[int] | None,
    max_per_host: int | None,
) -> list[DataProduct]:
    names = _checked_hosts(hosts)
    limit = _checked_limit(max_per_host)
    if len(files) > len(names) * limit:
        raise _no_room(files[len(names) * int(limit)], names, max_per_host, len(names) * int(limit))
    of = _sizes_in_order(files, sizes)
    loads = [(0, 0, at) for at in range(len(names))]
    chosen = [0] * len(files)
    for number in sorted(range(len(files)), key=lambda number: -of[number]):
        n_bytes, count, at = loads[0]
        chosen[number] = at
        if count + 1 < limit:
            heapq.heapreplace(loads, (n_bytes + of[number], count + 1, at))
        else:
            heapq.heappop(loads)
    return [DataProduct(names[at], file) for at, file in zip(chosen, files, strict=True)]


def _sizes_in_order(files: Sequence[str], sizes: Mapping[str, int] | Sequence[int] | None) -> list[int]:
    if sizes is None or (not isinstance(sizes, Mapping) and len(sizes) != len(files)):
        got = "none" if sizes is None else str(len(sizes))
        raise MapfileError(f"deal by size: expected the sizes of {len(files)} files, got {got}")
    if not isinstance(sizes, Mapping):
        return list(sizes)
    unknown = [file for file in files if file not in sizes]
    if unknown:
        raise MapfileError(f"deal by size: expected the size of each file, got none of {unknown[0]!r}")
    return [sizes[file] for file in files]


def _checked_hosts(hosts: Iterable[str]) -> list[str]:
    names = list(dict.fromkeys(hosts))
    if not names:
        raise MapfileError("hosts: expected at least one, got none")
    return names


def _checked_limit(max_per_host: int | None) -> float:
    if max_per_host is not None and max_per_host < 1:
        raise MapfileError(f"most files for one host: expected at least 1, got {max_per_host}")
    return float("inf") if max_per_host is None else max_per_host


def _no_room(file: str, hosts: Sequence[str], max_per_host: int | None, n_dealt: int) -> MapfileError:
    places = f"{len(hosts)} hosts with at most {max_per_host} files each"
    return MapfileError(f"file {file!r}: no room left for it: {places}, {n_dealt} dealt before it")
