"""Several files of one host as one entry, and back."""

from collections.abc import Iterable, Sequence

from pipeline.errors import MapfileError
from pipeline.model.products import DataProduct, MultiDataProduct

__all__ = ["expand", "group", "pair"]


def group(products: Iterable[DataProduct], n: int | None = None) -> list[MultiDataProduct]:
    """
    Put `n` files of a host into one entry, the last of a host with what is left; None puts all into one.

    A skipped file keeps its place in its group and its mark; a group of skipped files only is skipped itself.

    Returns:
        Hosts in the order in which they first appear, each host's files in order.

    Raises:
        MapfileError: If n is below 1.
    """
    if n is not None and n < 1:
        raise MapfileError(f"files in a group: expected at least 1, got {n}")
    of_host: dict[str, list[DataProduct]] = {}
    for one in products:
        of_host.setdefault(one.host, []).append(one)
    return [
        _one_group(members[start : start + (n or len(members))])
        for members in of_host.values()
        for start in range(0, len(members), n or len(members))
    ]


def expand(products: Iterable[MultiDataProduct]) -> list[DataProduct]:
    """Return an entry for each file, the inverse of `group`; all files of a skipped entry are skipped."""
    return [
        DataProduct(one.host, file, one.skip or is_skipped)
        for one in products
        for file, is_skipped in zip(one.file, one.file_skip, strict=True)
    ]


def pair(pairs: Iterable[tuple[DataProduct, DataProduct]]) -> list[MultiDataProduct]:
    """Make one entry of two files of each pair that `zip_maps` gives; it is skipped if one of the two is."""
    return [
        MultiDataProduct(one.host, [one.file, other.file], one.skip or other.skip, [one.skip, other.skip])
        for one, other in pairs
    ]


def _one_group(members: Sequence[DataProduct]) -> MultiDataProduct:
    skips = [one.skip for one in members]
    return MultiDataProduct(members[0].host, [one.file for one in members], all(skips), skips)
