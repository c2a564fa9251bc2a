"""Picking entries of a map, marking them as skipped, and leaving out those that are."""

import fnmatch
import re
from collections.abc import Callable, Container, Iterable
from typing import TypeVar

from pipeline.model.products import DataProduct, MultiDataProduct, names_of

__all__ = ["matcher", "prune", "select", "skip"]

_Product = TypeVar("_Product", DataProduct, MultiDataProduct, DataProduct | MultiDataProduct)
_Picks = Callable[[DataProduct | MultiDataProduct], bool]


def matcher(hosts: Container[str] | None = None, glob: str | None = None, *, negate: bool = False) -> _Picks:
    """
    Return a function that tells whether an entry is on one of `hosts` and its file matches `glob`.

    Args:
        hosts: None is any host.
        glob: With a `/` for the whole path, whose slashes `*` matches too, without for its last part; None is any file.
            Of an entry with several files one must match.
        negate: Tell the opposite.
    """
    matches = re.compile(fnmatch.translate(glob)).match if glob is not None else None
    is_whole = glob is not None and "/" in glob

    def picks(product: DataProduct | MultiDataProduct) -> bool:
        is_picked = hosts is None or product.host in hosts
        if is_picked and matches is not None:
            is_picked = any(matches(file if is_whole else _last_part(file)) for file in names_of(product))
        return is_picked is not negate

    return picks


def select(products: Iterable[_Product], picks: _Picks) -> list[_Product]:
    """Return the entries that `picks` picks."""
    return [one for one in products if picks(one)]


def skip(products: Iterable[_Product], picks: _Picks, *, to: bool = True) -> list[_Product]:
    """
    Return all entries, those that `picks` picks anew with their skip set to `to`; none changes its place.

    Of an entry with several files, each of which is marked, the marks are taken away with that of the entry: a mapfile
    that does not name them has them all marked.
    """
    return [_with_skip(one, to) if picks(one) else one for one in products]


def prune(products: Iterable[_Product]) -> list[_Product]:
    """Leave out the skipped entries; of an entry with several files also its skipped files, and it if none is left."""
    kept: list[_Product] = []
    for one in products:
        if one.skip:
            continue
        if isinstance(one, DataProduct) or not any(one.file_skip):
            kept.append(one)
        elif files := [file for file, is_skipped in zip(one.file, one.file_skip, strict=True) if not is_skipped]:
            kept.append(MultiDataProduct(one.host, files))
    return kept


def _with_skip(product: _Product, is_skipped: bool) -> _Product:
    if isinstance(product, DataProduct):
        return DataProduct(product.host, product.file, is_skipped)
    file_skip = None if not is_skipped and all(product.file_skip) else product.file_skip
    return MultiDataProduct(product.host, product.file, is_skipped, file_skip)


def _last_part(file: str) -> str:
    return file.rstrip("/").rpartition("/")[2]
