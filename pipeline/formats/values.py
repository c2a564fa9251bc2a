"""
Values written as text: numbers, booleans, lists `[a, 'b,c']` and records `{k: v}`.

Every function raises `ParsetError` with `expected ..., got ...`; the caller says in front where the text stands.
"""

import math
import re
from collections.abc import Iterable, Iterator

from pipeline.errors import ParsetError

__all__ = [
    "MAX_ELEMENTS",
    "expand_range",
    "format_list",
    "parse_bool",
    "parse_dict",
    "parse_float",
    "parse_int",
    "parse_list",
    "quote",
    "quote_value",
    "split_top_level",
    "unquote",
]

MAX_ELEMENTS = 10**6
_MAX_DEPTH = 100
_MAX_DIGITS = 18  # of a number in a range: more is no numbering of files

_INT = re.compile(r"[+-]?(?:0[xX][0-9A-Fa-f]{1,64}|[0-9]{1,1000})")
_FLOAT = re.compile(r"[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?")
_PIECE = re.compile(r"""'[^']*+'|"[^"]*+"|[^'"()\[\]{},:]++|.""", re.DOTALL)
_QUOTED = re.compile(r"""'([^']*+)'|"([^"]*+)\"""")
_PLAIN = re.compile(r"[\w/.@%+=~-]++")
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_CLOSER_OF = {"(": ")", "[": "]", "{": "}"}


def quote_value(value: object, max_chars: int = 60) -> str:
    """Return `value` for a message: on one line, in quotes if it is text, shortened."""
    if isinstance(value, str) and len(value) > max_chars:
        return f"{value[:max_chars]!r}... ({len(value)} characters)"
    shown = repr(value)
    return shown if isinstance(value, str) or len(shown) <= max_chars else f"{shown[:max_chars]}..."


def parse_int(text: str) -> int:
    """Return a decimal or 0x hexadecimal integer; leading zeros are decimal."""
    if not _INT.fullmatch(text.strip()):
        raise ParsetError(f"expected an integer, got {quote_value(text)}")
    return int(text, 16) if "x" in text.lower() else int(text)


def parse_float(text: str) -> float:
    """Return a finite decimal number."""
    value = float(text) if _FLOAT.fullmatch(text.strip()) else math.inf
    if not math.isfinite(value):
        raise ParsetError(f"expected a number, got {quote_value(text)}")
    return value


def parse_bool(text: str) -> bool:
    """Return a boolean from true, yes, 1, false, no, 0 in any case."""
    try:
        return _BOOLS[text.strip().lower()]
    except KeyError:
        raise ParsetError(f"expected true, yes, 1, false, no or 0, got {quote_value(text)}") from None


def parse_list(text: str, *, expand: bool = True) -> list[str]:
    """
    Return the elements of `[a, 'b,c', [d, e]]`, `a, b` or `a`.

    Args:
        text: Quotes around an element go; an element that is itself a list stays text. `[]` and blanks are empty.
        expand: Expand ranges such as `L001..[L]003`, in brackets and outside quotes only.
    """
    body = text.strip()
    is_bracketed = body.startswith("[")
    if is_bracketed:
        if not body.endswith("]"):
            raise ParsetError(f"expected ']' at the end of the list, got {quote_value(text)}")
        body = body[1:-1]
    if not body.strip():
        return []
    elements: list[str] = []
    for element in split_top_level(body, ","):
        room = MAX_ELEMENTS - len(elements)
        expanded = expand_range(element, room) if expand and is_bracketed else [element]
        if len(expanded) > room:
            raise _too_many(element)
        elements += [unquote(part) for part in expanded]
    return elements


def format_list(elements: Iterable[str]) -> str:
    """Return `[a, 'b,c']`; `parse_list` without expansion gives the elements back."""
    return f"[{', '.join(element if _PLAIN.fullmatch(element) else quote(element) for element in elements)}]"


def quote(text: str) -> str:
    """Put quotes around `text`, in several pieces if it has quotes of both kinds; `unquote` takes them away."""
    if "'" not in text:
        return f"'{text}'"
    return '"\'"'.join(f"'{piece}'" if piece else "" for piece in text.split("'"))


def parse_dict(text: str) -> dict[str, str]:
    """Return the entries of `{k: v, k2: [..]}` in order; quotes around keys and values go."""
    body = text.strip()
    if not (body.startswith("{") and body.endswith("}")):
        raise ParsetError(f"expected {{key: value, ...}}, got {quote_value(text)}")
    entries: dict[str, str] = {}
    for element in split_top_level(body[1:-1], ",") if body[1:-1].strip() else ():
        key, *value = split_top_level(element, ":", max_splits=1)
        if not value or not unquote(key):
            raise ParsetError(f"expected key: value in {{...}}, got {quote_value(element)}")
        if unquote(key) in entries:
            raise ParsetError(f"expected each key once in {{...}}, got {quote_value(unquote(key))} twice")
        entries[unquote(key)] = unquote(value[0])
    return entries


def split_top_level(text: str, separator: str, *, max_splits: int = -1) -> list[str]:
    """Split at `,` or `:` outside quotes and brackets of any kind; the parts are trimmed, quotes stay."""
    parts: list[str] = []
    start = 0
    for position in _separators(text, separator):
        if len(parts) == max_splits:
            break
        parts.append(text[start:position].strip())
        start = position + 1
    return [*parts, text[start:].strip()]


def unquote(text: str) -> str:
    """Remove quotes; adjacent pieces join (`'a'"b"c` is `abc`). A list or record keeps the quotes inside it."""
    text = text.strip()
    if text[:1] in ("[", "{", "("):
        return text
    return _QUOTED.sub(lambda match: match[1] if match[2] is None else match[2], text)


def expand_range(element: str, max_elements: int = MAX_ELEMENTS) -> list[str]:
    """
    Expand `prefixNN..[prefix]MM[suffix]`, up or down, as wide as the first number; several ranges multiply.

    Anything else, and anything with quotes or brackets in it, is returned as the only element.
    """
    if ".." not in element or any(mark in element for mark in "'\"[]{}()"):
        return [element]
    expanded = [""]
    rest = element
    while found := _first_range(rest):
        prefix, first, last, rest = found
        low, high = sorted((int(first), int(last)))
        count = (high - low + 1) * len(expanded)
        if count > max_elements:
            raise _too_many(element)
        step = 1 if int(last) >= int(first) else -1
        numbers = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + step, step)]
        expanded = [f"{head}{prefix}{number}" for head in expanded for number in numbers]
    return [head + rest for head in expanded]


def _first_range(text: str) -> tuple[str, str, str, str] | None:
    """Return prefix, first number, last number and what follows, or None if `text` has no range."""
    head, dots, tail = text.partition("..")
    head, tail = head.rstrip(), tail.lstrip()
    prefix = head.rstrip("0123456789")
    first = head[len(prefix) :]
    # The prefix repeated after the dots belongs to the range: /data/L001../data/L010.
    tail = tail.removeprefix(prefix)
    rest = tail.lstrip("0123456789")
    last = tail[: len(tail) - len(rest)]
    if not dots or not first or not last:
        return None
    if max(len(first), len(last)) > _MAX_DIGITS:
        raise ParsetError(f"expected numbers of at most {_MAX_DIGITS} digits in a range, got {quote_value(text)}")
    return prefix, first, last, rest


def _too_many(element: str) -> ParsetError:
    return ParsetError(f"expected at most {MAX_ELEMENTS} elements, got more with {quote_value(element)}")


def _separators(text: str, separator: str) -> Iterator[int]:
    """Yield the positions of `separator` outside quotes and brackets, checking that these are balanced."""
    closers: list[str] = []
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece in _CLOSER_OF:
            closers.append(_CLOSER_OF[piece])
            if len(closers) > _MAX_DEPTH:
                raise ParsetError(f"expected brackets at most {_MAX_DEPTH} deep, got {quote_value(text)}")
        elif piece in (")", "]", "}"):
            if not closers or closers.pop() != piece:
                raise ParsetError(f"expected brackets in pairs, got {piece!r} too many in {quote_value(text)}")
        elif piece in ("'", '"'):
            raise ParsetError(f"expected a closing {piece} in {quote_value(text)}")
        elif piece == separator and not closers:
            yield match.start()
    if closers:
        raise ParsetError(f"expected a closing {closers[-1]!r} in {quote_value(text)}")
