"""The inverse of expansion: runs of equal elements as `n*x`, runs of numbers as `prefixNN..MMsuffix`."""

import re

from pipeline.formats.parset_expand import expand_text, is_vector
from pipeline.formats.parset_values import split_vector

__all__ = ["compact_text"]

_NUMBERED = re.compile(r"""([^'"()\[\]{},;*]*?)([0-9]++)([^0-9'"()\[\]{},;*]*+)""")
_MIN_RUN = 3  # numbers in a range; two are no shorter


def compact_text(text: str) -> str:
    """
    Return a vector with runs folded, if what is folded expands to the same elements; anything else as it is.

    Raises:
        ParsetError: As of `split_vector` and `expand_text`.
    """
    if not is_vector(text):
        return text
    elements = split_vector(expand_text(text))
    if "" in elements:
        return text
    pieces: list[str] = []
    position = 0
    while position < len(elements):
        end = _equal_until(elements, position)
        piece = f"{end - position}*{elements[position]}" if end - position > 1 else ""
        if not piece:
            end, piece = _numbered_until(elements, position)
        wanted = elements[position:end]
        pieces += [piece] if split_vector(expand_text(f"[{piece}]")) == wanted else wanted
        position = end
    return f"[{','.join(pieces)}]"


def _equal_until(elements: list[str], start: int) -> int:
    end = start + 1
    while end < len(elements) and elements[end] == elements[start]:
        end += 1
    return end


def _numbered_until(elements: list[str], start: int) -> tuple[int, str]:
    """Return where a run of numbers ends, and its range; one element as it is if there is no run."""
    first = _NUMBERED.fullmatch(elements[start])
    if not first or len(first[2]) > 9:
        return start + 1, elements[start]
    prefix, digits, suffix = first.groups()
    for step in (1, -1):
        end, number = start + 1, int(digits) + step
        while end < len(elements) and elements[end] == f"{prefix}{number:0{len(digits)}d}{suffix}" and number >= 0:
            end, number = end + 1, number + step
        if end - start >= _MIN_RUN:
            return end, f"{prefix}{digits}..{number - step:0{len(digits)}d}{suffix}"
    return start + 1, elements[start]
