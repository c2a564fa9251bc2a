"""The key of a file, by which files that belong together are dealt to one host."""

import fnmatch
import re
from collections.abc import Callable

from pipeline.errors import MapfileError

__all__ = ["key_by_glob", "key_by_regex"]

_FIRST_STAR = re.compile(r"((?:\[!?\]?[^\]]*+\]|[^*])*+)\*(.*)", re.DOTALL)  # a star in brackets is one of a set


def key_by_regex(regex: str) -> Callable[[str], str]:
    r"""
    Return a function that finds `regex` in a path; the key is its group `key`, else its first group, else all of it.

    Raises:
        MapfileError: For what is no regular expression; the function, for a file in which it is not found.
    """
    try:
        pattern = re.compile(regex)
    except (re.error, RecursionError, OverflowError) as error:
        raise MapfileError(f"key {regex!r}: expected a regular expression, got one with an error: {error}") from None
    group: str | int = "key" if "key" in pattern.groupindex else min(pattern.groups, 1)

    def key(file: str) -> str:
        match = pattern.search(file)
        if match is None or match[group] is None:
            raise MapfileError(f"file {file!r}: has no key: {regex!r} is not found in it")
        return match[group]

    return key


def key_by_glob(glob: str) -> Callable[[str], str]:
    """
    Return a function that matches `glob` with the last part of a path; the key is what its first `*` stands for.

    `L*_SB???.MS` gives `L1` for `/data/L1_SB000.MS`: the key of an observation, one host for all its subbands.

    Raises:
        MapfileError: For a glob without `*`; the function, for a file that does not match.
    """
    parts = _FIRST_STAR.fullmatch(glob)
    if not parts or "/" in glob:
        raise MapfileError(f"key {glob!r}: expected a pattern with a '*' and without '/', e.g. 'L*_SB???.MS'")
    pattern = re.compile(f"{_without_end(parts[1])}(?P<key>.*?){fnmatch.translate(parts[2])}", re.DOTALL)

    def key(file: str) -> str:
        match = pattern.match(file.rstrip("/").rpartition("/")[2])
        if match is None:
            raise MapfileError(f"file {file!r}: has no key: its last part does not match {glob!r}")
        return match["key"]

    return key


def _without_end(glob: str) -> str:
    return fnmatch.translate(glob).removesuffix(r"\Z").removesuffix(r"\z")
