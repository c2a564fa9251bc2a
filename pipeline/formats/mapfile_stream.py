"""A mapfile written piece by piece, so that its entries need not be in memory together."""

from collections.abc import Iterable, Iterator
from itertools import islice

from pipeline.formats.mapfile import Product, format_mapfile

__all__ = ["format_in_pieces"]

_ENTRIES_PER_PIECE = 5_000


def format_in_pieces(products: Iterable[Product], form: str) -> Iterator[str]:
    """
    Yield the text that `format_mapfile` returns, at most 5,000 entries at a time.

    The form `parset` gathers each host's files on one line: of it all comes at the end, in one piece.

    Raises:
        MapfileError: As `format_mapfile`, when the entry's turn comes.
    """
    if form == "parset":
        yield format_mapfile(products, form)
        return
    left = iter(products)
    separator = ",\n" if form == "json" else ""
    before = format_mapfile([], form).removesuffix("]\n")
    while piece := list(islice(left, _ENTRIES_PER_PIECE)):
        body = format_mapfile(piece, form).removeprefix("[\n").removesuffix("]\n")
        yield before + (body.removesuffix("\n") if separator else body)
        before = separator
    yield ("\n" if before == separator and separator else before) + "]\n"
