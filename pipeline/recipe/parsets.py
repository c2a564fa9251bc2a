"""Parsets on disk."""

import logging
import os

from pipeline.errors import ParsetError
from pipeline.formats.parset import Parset
from pipeline.run.textfiles import one_line, read_input, read_text, write_text

__all__ = ["read_parset", "read_parset_input", "write_parset"]

_MAX_BYTES = 32 << 20  # a million keys, the most of a parset, take 0.2 GB; to write them, 0.7 GB

log = logging.getLogger(__name__)


def read_parset(path: str | os.PathLike[str], strict: bool = False) -> Parset:
    """
    Read a parset; what is odd in it but kept is logged as a warning.

    Args:
        path: Its file, at most 32 MiB.
        strict: What is odd is an error.

    Raises:
        ParsetError: With all problems of the file.
    """
    text = read_text(path, error=ParsetError, max_bytes=_MAX_BYTES, what="parset")
    return _logged(Parset.parse(text, strict=strict, source=one_line(path)))


def read_parset_input(path: str, strict: bool = False) -> Parset:
    """Read a parset as `read_parset` does; `-` is standard input."""
    text = read_input(path, error=ParsetError, max_bytes=_MAX_BYTES, what="parset")
    return _logged(Parset.parse(text, strict=strict, source="<stdin>" if path == "-" else one_line(path)))


def write_parset(path: str | os.PathLike[str], parset: Parset) -> None:
    """
    Write a parset, at once or not at all; what was read from a file and not changed is written as it was.

    Raises:
        ParsetError: If the file cannot be written, or a value cannot stand in a parset.
    """
    write_text(path, parset.format(), error=ParsetError)


def _logged(parset: Parset) -> Parset:
    for warning in parset.warnings:
        log.warning("%s", warning)
    return parset
