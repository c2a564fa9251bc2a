"""Several maps made one, one made several, and two compared. What comes back holds the very entries that went in."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain
from typing import TypeVar

from pipeline.errors import MapfileError
from pipeline.model.products import DataProduct, MultiDataProduct, names_of

__all__ = ["diff", "merge", "misfit", "part", "split", "zip_maps"]

_Product = TypeVar("_Product", DataProduct, MultiDataProduct, DataProduct | MultiDataProduct)
_Other = TypeVar("_Other", DataProduct, MultiDataProduct, DataProduct | MultiDataProduct)
_Key = Callable[[DataProduct | MultiDataProduct], Hashable]


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
    return [part(products, number, n) for number in range(1, n + 1)]


def part(products: Sequence[_Product], number: int, n: int) -> list[_Product]:
    """Return one of the `n` maps that `split` makes, of number 1 to n; takes no longer however large n is."""
    size, n_larger = divmod(len(products), n)
    start, end = (i * size + min(i, n_larger) for i in (number - 1, number))
    return list(products[start:end])


def misfit(*maps: Sequence[DataProduct | MultiDataProduct], any_host: bool = False) -> str:
    """
    Return why entries of the maps do not belong together by index, empty if they do.

    Args:
        maps: Skipped entries count.
        any_host: Those at one index may be on different hosts, as with what is copied and its copy.
    """
    lengths = [len(one) for one in maps]
    if len(set(lengths)) > 1:
        return f"expected maps of equal length, got {', '.join(map(str, lengths))} entries"
    if not any_host:
        for number, products in enumerate(zip(*maps, strict=True), 1):
            hosts = [product.host for product in products]
            if len(set(hosts)) > 1:
                return f"entry {number}: expected the same host in all maps, got {', '.join(map(repr, hosts))}"
    return ""


def zip_maps(
    first: Sequence[_Product], second: Sequence[_Other], *, any_host: bool = False
) -> list[tuple[_Product, _Other]]:
    """
    Pair the entries of two maps, skipped ones included.

    Raises:
        MapfileError: If they are not of the same length, or two entries that meet are not on the same host, unless
            `any_host`; names the first such pair.
    """
    problem = misfit(first, second, any_host=any_host)
    if problem:
        raise MapfileError(problem)
    return list(zip(first, second, strict=True))


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
    # Equal ones first: or one of two entries with the same file would be compared with the other's.
    ours, theirs = _matched(ours, theirs, _content)[1], _matched(theirs, ours, _content)[1]
    only_ours = _matched(ours, theirs, _place)[1]
    changed, only_theirs = _matched(theirs, ours, _place)
    return only_ours, only_theirs, changed


def _matched(
    products: Iterable[_Product], others: Iterable[_Product], key: _Key
) -> tuple[list[_Product], list[_Product]]:
    """Return which entries have the key of one of the others, which is then taken, and which have not."""
    n_left = Counter(map(key, others))
    found: list[_Product] = []
    rest: list[_Product] = []
    for one in products:
        has_other = n_left[key(one)] > 0
        n_left[key(one)] -= has_other
        (found if has_other else rest).append(one)
    return found, rest


def _place(product: DataProduct | MultiDataProduct) -> Hashable:
    return product.host, tuple(names_of(product))


def _content(product: DataProduct | MultiDataProduct) -> Hashable:
    of_files = () if isinstance(product, DataProduct) else tuple(product.file_skip)
    return _place(product), product.skip, of_files
