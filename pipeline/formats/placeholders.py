"""
Templates such as `{dir}/{stem}.out` that are filled in for each file of a mapfile.

`{{` and `}}` are braces. Nothing else is a language: no attributes, indices, formats or nesting, and what is filled
in is never read again.
"""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.formats.values import quote_value

__all__ = ["PLACEHOLDERS", "Template", "file_values", "parse_template"]

PLACEHOLDERS = ("file", "stem", "dir", "name", "host")

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


@dataclass(frozen=True, slots=True)
class Template:
    """
    A template that was read.

    Attributes:
        pieces: (n,) of (text, name): the text as it stands, or else the placeholder whose value it becomes.
    """

    pieces: tuple[tuple[str, str], ...]

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with each placeholder replaced by its value, braces in a value included as they are."""
        return "".join(values[name] if name else text for text, name in self.pieces)


def parse_template(text: str) -> Template:
    """
    Read a template.

    Raises:
        InputError: `expected ..., got ...` with a line for each unknown placeholder and each single brace.
    """
    pieces: list[tuple[str, str]] = []
    problems: list[str] = []
    for match in _PIECE.finditer(text):
        piece, name = match[0], match[1]
        if name in PLACEHOLDERS:
            pieces.append(("", name))
        elif name is not None:
            problems.append(f"expected one of {_known()}, got {quote_value(piece)} in {quote_value(text)}")
        elif piece in ("{", "}"):
            column = match.start() + 1
            problems.append(
                f"expected {piece * 2} for a brace, got a single {piece} at character {column} of {quote_value(text)}"
            )
        else:
            pieces.append((piece[0] if piece in ("{{", "}}") else piece, ""))
    if problems:
        raise InputError(problems)
    return Template(tuple(pieces))


def file_values(host: str, file: str) -> dict[str, str]:
    """
    Return what the placeholders stand for.

    Args:
        host: The entry's host.
        file: Its path as the host sees it; a measurement set may end with `/`.

    Returns:
        `file` as it is, `dir` its folder (`.` if it has none), `name` its last part, `stem` that without its ending.
    """
    trimmed = file.rstrip("/") or file
    directory, name = posixpath.split(trimmed)
    stem = posixpath.splitext(name)[0]
    return {"file": file, "stem": stem, "dir": directory or ".", "name": name, "host": host}


def _known() -> str:
    return ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
