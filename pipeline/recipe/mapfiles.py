"""Mapfiles on disk."""

import os
from collections.abc import Iterable

from pipeline.errors import MapfileError
from pipeline.formats.mapfile import format_mapfile, parse_mapfile
from pipeline.run.textfiles import one_line, read_text, write_text

__all__ = ["load_data_map", "read_mapfile", "store_data_map", "write_mapfile"]


def read_mapfile(path: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """
    Return the (host, file) pairs of a mapfile, in order.

    Raises:
        MapfileError: With all problems of the file.
    """
    text = read_text(path, error=MapfileError, what="mapfile")
    return parse_mapfile(text, one_line(path))


def write_mapfile(path: str | os.PathLike[str], pairs: Iterable[tuple[str, str]]) -> None:
    """
    Write (host, file) pairs, at once or not at all.

    Raises:
        MapfileError: If the file cannot be written, or a name cannot stand in a mapfile.
    """
    write_text(path, format_mapfile(pairs), error=MapfileError)


load_data_map = read_mapfile
store_data_map = write_mapfile
