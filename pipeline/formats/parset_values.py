"""
What the text of a value means when a string, boolean, number, time, vector or record is asked for.

The answers are those of the original C++ parameterset, its quirks included: the first letter alone decides a boolean,
a time has any unit, nothing is the integer 0. Quotes are removed last, and only from strings and keys.
"""

import math
import re
from collections.abc import Iterator

from pipeline.errors import ParsetError
from pipeline.formats.parset_expand import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    closing_quote,
    expand_text,
    is_vector,
    too_many_elements,
)
from pipeline.formats.values import FLOAT, WHITESPACE, quote_value

__all__ = [
    "parse_dict",
    "parse_list",
    "split_record",
    "split_vector",
    "to_bool",
    "to_float",
    "to_int",
    "to_string",
    "to_time",
]

_SMALLEST_FLOAT = 2.2250738585072014e-308  # below it numbers lose digits, and the original refuses them

_PIECE = re.compile(r"""'([^']*+)'|"([^"]*+)"|([^'"]++)|(.)""", re.DOTALL)
_SPECIAL = re.compile(r"""['",:()\[\]{}]""")
_NESTED = re.compile(r"""['"()\[\]{}]""")
_INT = re.compile(r"0[xX][0-9A-Fa-f]++|[+-]?[0-9]++")
_HEX_FLOAT = re.compile(r"[+-]?0[xX](?:[0-9A-Fa-f]++\.?[0-9A-Fa-f]*+|\.[0-9A-Fa-f]++)(?:[pP][+-]?[0-9]++)?")
_NO_NUMBER = re.compile(r"([+-]?)(?:(inf)(?:inity)?|nan(?:\([0-9A-Za-z_]*+\))?)", re.IGNORECASE)
_TIME = re.compile(r"([+-]?[0-9]++)[ \t\n\v\f\r]*+(.?)", re.DOTALL)
_SECONDS_OF = {"m": 60, "h": 3600}
_CLOSER_OF = {"(": ")", "[": "]", "{": "}"}


def to_string(text: str) -> str:
    """Remove blanks at both ends, then all quotes: `'a'"b"c` is `abc`, `['x y']` is `[x y]`."""
    text = text.strip(WHITESPACE)
    if "'" not in text and '"' not in text:
        return text
    pieces: list[str] = []
    for single, double, plain, unbalanced in _PIECE.findall(text):
        if unbalanced:
            raise ParsetError(f"expected a closing {unbalanced} in {quote_value(text)}")
        pieces.append(single or double or plain)
    return "".join(pieces)


def to_bool(text: str) -> bool:
    """Return a boolean by its first character: t T 1 y Y, or f F 0 n N."""
    letter = text[:1]
    if not letter or letter not in "tT1yYfF0nN":
        raise ParsetError(f"expected a boolean (true, false, yes, no, 1, 0), got {quote_value(text)}")
    return letter in "tT1yY"


def to_int(text: str) -> int:
    """Return a decimal or 0x hexadecimal number of 32 bits; leading zeros are decimal, nothing at all is 0."""
    digits = text.strip(WHITESPACE)
    if not digits:
        return 0
    is_hex = digits[1:2] in ("x", "X")
    if not _INT.fullmatch(digits):
        raise ParsetError(f"expected an integer, got {quote_value(text)}")
    # What is too long for 32 bits is not converted: that takes time quadratic in its length.
    rest = digits.lstrip("+-0xX")
    value = int(rest or "0", 16 if is_hex else 10) if len(rest) <= 10 else 2**32
    value = -value if digits[0] == "-" else value
    if not -(2**31) <= value < 2**31:
        raise ParsetError(f"expected an integer of 32 bits, got {quote_value(text)}")
    return value


def to_float(text: str) -> float:
    """Return what C's strtod takes, all of it: decimal, 0x hexadecimal, inf, nan; nothing at all is 0."""
    digits = text.strip(WHITESPACE)
    if not digits:
        return 0.0
    if match := _NO_NUMBER.fullmatch(digits):
        return float(match[1] + ("inf" if match[2] else "nan"))
    value = math.inf
    if FLOAT.fullmatch(digits):
        value = float(digits)
    elif not _HEX_FLOAT.fullmatch(digits):
        raise ParsetError(f"expected a number, got {quote_value(text)}")
    else:
        value = _from_hex(digits)
    is_lost = 0 < abs(value) < _SMALLEST_FLOAT or (value == 0 and _has_digits(digits))
    if math.isinf(value) or is_lost:
        raise ParsetError(f"expected a number of double precision, got {quote_value(text)}")
    return value


def _from_hex(digits: str) -> float:
    try:
        return float.fromhex(digits)
    except OverflowError:
        return math.inf


def _has_digits(digits: str) -> bool:
    """Whether a number of value 0 is not written as 0."""
    is_hex = "x" in digits.lower()
    mantissa = re.split("[pP]" if is_hex else "[eE]", digits)[0].lstrip("+-")
    return bool((mantissa[2:] if is_hex else mantissa).strip("0."))


def to_time(text: str) -> int:
    """
    Return seconds: `15`, `15s`, `15 min`, `15hour`.

    Only the first letter of the unit counts, m and h in either case; anything else is seconds, also `1d` and `1.5`.
    """
    match = _TIME.match(text.strip(WHITESPACE))
    if not match:
        raise ParsetError(f"expected a time, e.g. 15, 15s, 15m or 15h, got {quote_value(text)}")
    digits = match[1].lstrip("+-0")
    most = 2**63 if match[1][0] == "-" else 2**63 - 1
    value = min(int(digits or "0"), most) if len(digits) <= 20 else most
    seconds = value * _SECONDS_OF.get(match[2].lower(), 1)
    if seconds > most:
        raise ParsetError(f"expected a time of less than 2^63 seconds, got {quote_value(text)}")
    return -seconds if match[1][0] == "-" else seconds


def split_vector(text: str) -> list[str]:
    """
    Return the elements of `[a, 'b,c', [d, e]]` as they stand, blanks at the ends removed.

    A scalar is a vector of one, `[]` and nothing are empty, `[a,,b]` has an empty element.

    Raises:
        ParsetError: Brackets or quotes are not in pairs; brackets nested more than 100 deep; over 10^6 elements.
    """
    text = text.strip(WHITESPACE)
    if not is_vector(text):
        return [text] if text else []
    body = text[1:-1]
    return _split(body, ",") if body.strip(WHITESPACE) else []


def split_record(text: str) -> list[tuple[str, str]]:
    """
    Return the entries of `{k: v, k2: [..]}` in order, keys without quotes and values as they stand.

    Raises:
        ParsetError: As of `split_vector`; an entry without a key or a colon; a key that comes again.
    """
    text = text.strip(WHITESPACE)
    if len(text) < 2 or text[0] != "{" or text[-1] != "}":
        raise ParsetError(f"expected {{key: value, ...}}, got {quote_value(text)}")
    body = text[1:-1]
    entries: dict[str, str] = {}
    for element in _split(body, ",") if body.strip(WHITESPACE) else ():
        key, *value = _split(element, ":", max_splits=1)
        name = to_string(key)
        if not value or not name:
            raise ParsetError(f"expected key: value in {{...}}, got {quote_value(element)}")
        if name in entries:
            raise ParsetError(f"expected each key once in {{...}}, got {quote_value(name)} twice")
        entries[name] = value[0]
    return list(entries.items())


def parse_list(text: str, *, expand: bool = True) -> list[str]:
    """
    Return the elements of `[a, 'b,c', [d, e]]`; also of `a, b` without brackets, where nothing is expanded.

    Args:
        text: Quotes around an element go; an element that is itself a list stays text.
        expand: Write out repeats and ranges in brackets.
    """
    body = text.strip(WHITESPACE)
    if body[:1] != "[":
        body = f"[{body}]"
    elif body[-1] != "]":
        raise ParsetError(f"expected ']' at the end of the list, got {quote_value(text)}")
    elif expand:
        body = expand_text(body)
    return [_element_string(element) for element in split_vector(body)]


def parse_dict(text: str) -> dict[str, str]:
    """Return the entries of `{k: v, k2: [..]}` in order; quotes around keys and values go, not those inside lists."""
    return {key: _element_string(value) for key, value in split_record(text)}


def _element_string(text: str) -> str:
    return text if text[:1] in ("[", "{", "(") else to_string(text)


def _split(text: str, separator: str, *, max_splits: int = MAX_ELEMENTS) -> list[str]:
    """Split outside quotes and brackets; the parts are trimmed. Brackets have to be in pairs up to the last split."""
    if separator == "," and not _NESTED.search(text):
        if text.count(",") >= MAX_ELEMENTS:
            raise too_many_elements(text)
        return [part.strip(WHITESPACE) for part in text.split(",")]
    parts: list[str] = []
    start = 0
    for position in _separators(text, separator):
        if len(parts) >= max_splits:
            break
        parts.append(text[start:position].strip(WHITESPACE))
        start = position + 1
    parts.append(text[start:].strip(WHITESPACE))
    if len(parts) > MAX_ELEMENTS:
        raise too_many_elements(text)
    return parts


def _separators(text: str, separator: str) -> Iterator[int]:
    """Yield the positions of `separator` outside quotes and brackets, checking that these are in pairs."""
    closers: list[str] = []
    position = 0
    while match := _SPECIAL.search(text, position):
        mark, position = match[0], match.end()
        if mark in "'\"":
            position = closing_quote(text, match.start()) + 1
        elif mark in _CLOSER_OF:
            # So says the original; a group of a repeat may hold them.
            if closers and closers[-1] == ")" and mark != "(":
                raise ParsetError(f"expected no {mark!r} within parentheses, got {quote_value(text)}")
            closers.append(_CLOSER_OF[mark])
            if len(closers) > MAX_DEPTH:
                raise ParsetError(f"expected brackets at most {MAX_DEPTH} deep, got {quote_value(text)}")
        elif mark in ")]}":
            if not closers or closers.pop() != mark:
                raise ParsetError(f"expected brackets in pairs, got {mark!r} too many in {quote_value(text)}")
        elif mark == separator and not closers:
            yield match.start()
    if closers:
        raise ParsetError(f"expected a closing {closers[-1]!r} in {quote_value(text)}")
