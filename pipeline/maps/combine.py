"""Several maps made one, one made several, and two compared. What comes back holds the very entries that went in."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import TypeVar

from pipeline.errors import MapfileError
from pipeline.model.products import DataProduct, MultiDataProduct

__all__ = ["diff", "merge", "split", "zip_maps"]

_Product = TypeVar("_Product", DataProduct, MultiDataProduct, DataProduct | MultiDataProduct)
_Other = TypeVar("_Other", DataProduct, MultiDataProduct, DataProduct | MultiDataProduct)
_Place = tuple[str, tuple[str, ...]]


def merge(*maps: Iterable[_Product]) -> list[_Product]:
    """Return the entries of all maps, one map after the other; an entry that is in two of them is there twice."""
    return list(chain.from_iterable(maps))


def split(products: Sequence[_Product], n: int) -> list[list[_Product]]:
    """
    Cut a map into `n` maps; `merge` puts them together again.

    Returns:
        (n,) maps, the first `len(products) mod n` of them with one entry more.

    Raises:
        MapfileError: If n is below 1.
    """
    if n < 1:
        raise MapfileError(f"number of parts: expected at least 1, got {n}")
    size, n_larger = divmod(len(products), n)
    starts = [i * size + min(i, n_larger) for i in range(n + 1)]
    return [list(products[start:end]) for start, end in pairwise(starts)]


def zip_maps(first: Sequence[_Product], second: Sequence[_Other]) -> list[tuple[_Product, _Other]]:
    """
    Pair the entries of two maps, skipped ones included.

    Raises:
        MapfileError: If they are not of the same length, or two entries that meet are not on the same host; names
            the first such pair.
    """
    if len(first) != len(second):
        raise MapfileError(f"expected two maps with as many entries, got {len(first)} and {len(second)}")
    pairs = list(zip(first, second, strict=True))
    for number, (one, other) in enumerate(pairs, 1):
        if one.host != other.host:
            raise MapfileError(f"entry {number}: expected the same host in both, got {one.host!r} and {other.host!r}")
    return pairs


def diff(
    first: Iterable[_Product], second: Iterable[_Product]
) -> tuple[list[_Product], list[_Product], list[_Product]]:
    """
    Compare two maps, whatever the order of their entries.

    Returns:
        What only the first has, what only the second has, and the second's entries of which both have the same file
        on the same host but not the same skip; each in its map's order.
    """
    ours, theirs = list(first), list(second)
    if ours == theirs:
        return [], [], []
    only_ours = _left_over(ours, Counter(map(_place, theirs)))
    only_theirs = _left_over(theirs, Counter(map(_place, ours)))
    n_by_content = Counter((_place(one), _skips(one)) for one in ours)
    changed = []
    gone = set(map(id, only_theirs))
    for one in theirs:
        content = (_place(one), _skips(one))
        if n_by_content[content]:
            n_by_content[content] -= 1
        elif id(one) not in gone:
            changed.append(one)
    return only_ours, only_theirs, changed


def _left_over(products: Iterable[_Product], n_taken: Counter[_Place]) -> list[_Product]:
    left = []
    for one in products:
        place = _place(one)
        if n_taken[place]:
            n_taken[place] -= 1
        else:
            left.append(one)
    return left


def _place(product: DataProduct | MultiDataProduct) -> _Place:
    return product.host, (product.file,) if isinstance(product, DataProduct) else tuple(product.file)


def _skips(product: DataProduct | MultiDataProduct) -> tuple[bool, ...]:
    of_files = () if isinstance(product, DataProduct) else tuple(product.file_skip)
    return product.skip, *of_files
