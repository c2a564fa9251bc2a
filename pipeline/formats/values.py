"""
Values written as text: numbers, booleans, quoting. Lists and records are in `parset_values`.

Every function raises `ParsetError` with `expected ..., got ...`; the caller says in front where the text stands.
"""

import math
import re
from collections.abc import Iterable

from pipeline.errors import ParsetError

__all__ = [
    "FLOAT",
    "WHITESPACE",
    "format_list",
    "parse_bool",
    "parse_float",
    "parse_int",
    "quote",
    "quote_value",
    "show_key",
]

WHITESPACE = " \t\n\v\f\r"  # as C++ has it: no other blank of Unicode is trimmed

_INT = re.compile(r"[+-]?(?:0[xX][0-9A-Fa-f]{1,64}|[0-9]{1,1000})")
FLOAT = re.compile(r"[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_PLAIN = re.compile(r"[\w/.@%+=~-]++")
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def quote_value(value: object, max_chars: int = 60) -> str:
    """Return `value` for a message: on one line, in quotes if it is text, shortened."""
    if isinstance(value, str) and len(value) > max_chars:
        return f"{value[:max_chars]!r}... ({len(value)} characters)"
    shown = repr(value)
    return shown if isinstance(value, str) or len(shown) <= max_chars else f"{shown[:max_chars]}..."


def show_key(key: str) -> str:
    """Return a key for a message: as it is, or quoted if it would not stand on a line."""
    return key if key.isprintable() and len(key) <= 200 else quote_value(key)


def parse_int(text: str) -> int:
    """Return a decimal or 0x hexadecimal integer; leading zeros are decimal."""
    if not _INT.fullmatch(text.strip()):
        raise ParsetError(f"expected an integer, got {quote_value(text)}")
    return int(text, 16) if "x" in text.lower() else int(text)


def parse_float(text: str) -> float:
    """Return a finite decimal number."""
    value = float(text) if FLOAT.fullmatch(text.strip()) else math.inf
    if not math.isfinite(value):
        raise ParsetError(f"expected a number, got {quote_value(text)}")
    return value


def parse_bool(text: str) -> bool:
    """Return a boolean from true, yes, 1, false, no, 0 in any case."""
    try:
        return _BOOLS[text.strip().lower()]
    except KeyError:
        raise ParsetError(f"expected true, yes, 1, false, no or 0, got {quote_value(text)}") from None


def format_list(elements: Iterable[str]) -> str:
    """Return `[a, 'b,c']`; `parse_list` without expansion gives the elements back."""
    return f"[{', '.join(element if _PLAIN.fullmatch(element) else quote(element) for element in elements)}]"


def quote(text: str) -> str:
    """Put quotes around `text`, in several pieces if it has quotes of both kinds; `unquote` takes them away."""
    if "'" not in text:
        return f"'{text}'"
    return '"\'"'.join(f"'{piece}'" if piece else "" for piece in text.split("'"))
