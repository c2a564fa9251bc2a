"""
Expansion of `[3*x, L001..003]`, as the original parameterset did it: repeats first, then ranges, on the text.

The text matters: what a repeat or range makes is read again together with what follows it, so that `2*(3*1)` and
`/lse001..3:/data1..4` multiply. Both stay within limits that are checked before anything is built.
"""

import re

from pipeline.errors import ParsetError
from pipeline.formats.values import WHITESPACE, quote_value

__all__ = ["MAX_DEPTH", "MAX_ELEMENTS", "closing_quote", "expand_text", "is_vector", "too_many_elements"]

MAX_ELEMENTS = 10**6
MAX_DEPTH = 100
_MAX_CHARS = 64 << 20  # as much as a file may hold
_MAX_NUMBER = 2**31 - 1

# Possessive throughout: each pattern looks at a character a fixed number of times, whatever the text.
_HEAD = r"\s*+([0-9]++)\s*+\*\s*+"
_REPEAT = re.compile(_HEAD, re.ASCII)
_REPEAT_OR_QUOTE = re.compile(rf"""['"]|[\[(,]{_HEAD}""", re.ASCII)
_LONG_CHAIN = re.compile(rf"(?<![0-9])(?:[0-9]++\s*+\*\s*+){{{MAX_DEPTH + 1}}}", re.ASCII)
_RUN = re.compile(r"""[^'"()\[\],]++""")
_MARK_OF = {"(": re.compile(r"""['"()]"""), "[": re.compile(r"""['"\[\]]""")}
_BRACKET = re.compile(r"""['"()\[\]{}]""")
_GROUP_PIECE = re.compile(r"""('[^']*+'|"[^"]*+")|;""")
_ELEMENT = re.compile(r"""(?:[^,'"]++|'[^']*+'|"[^"]*+")*+""")
_RANGE_OR_QUOTE = re.compile(r"""'[^']*+'|"[^"]*+"|(?<![0-9])([0-9]++)\s*+\.\.\s*+""", re.ASCII)
_SUFFIX = re.compile(r"""(?:[^\s;*\])'"]++|'[^']*+'|"[^"]*+")*+""", re.ASCII)
_DIGITS = re.compile(r"[0-9]++")
_BEFORE_PREFIX = " \t\n\v\f\r;[(*"
_MAX_RANGE_CHARS = 1 << 16  # of an element, which is read again for each of its ranges
_MAX_PREFIX = 4096  # of a prefix that comes again: a longer one is no name, and looking for it must not take long


def is_vector(text: str) -> bool:
    """Whether a value is in square brackets."""
    text = text.strip(WHITESPACE)
    return len(text) > 1 and text[0] == "[" and text[-1] == "]"


def expand_text(text: str) -> str:
    """
    Return a value with its repeats and ranges written out; what is not in square brackets comes back as it is.

    Raises:
        ParsetError: Unbalanced quotes or brackets of a repeat; a number over 2^31-1; more than 10^6 elements, those
            of nested lists included; brackets or repeats nested more than 100 deep.
    """
    if not is_vector(text) or ("*" not in text and ".." not in text and "'" not in text and '"' not in text):
        return text
    if text.count(",") >= MAX_ELEMENTS:
        raise too_many_elements(text)
    _check_depth(text)
    if "*" in text:
        text = _Repeats(text).expanded(text)
    return _Ranges(text).expanded(text)


def closing_quote(text: str, position: int) -> int:
    """Return where the quoted string that begins at `position` ends; raise ParsetError if it does not."""
    end = text.find(text[position], position + 1)
    if end < 0:
        raise ParsetError(f"expected a closing {text[position]} in {quote_value(text)}")
    return end


def too_many_elements(text: str) -> ParsetError:
    """Build the error about a list that is too long."""
    return ParsetError(f"expected at most {MAX_ELEMENTS} elements, got more with {quote_value(text)}")


def _check_depth(text: str) -> None:
    """Look at brackets of all kinds without pairing them: that is the reader's business."""
    depth, position = 0, 0
    while match := _BRACKET.search(text, position):
        position = match.end()
        if match[0] in "'\"":
            position = closing_quote(text, match.start()) + 1
        else:
            depth += 1 if match[0] in "([{" else -1
        if depth > MAX_DEPTH:
            break
    if depth > MAX_DEPTH or _LONG_CHAIN.search(text):
        raise ParsetError(f"expected brackets and repeats at most {MAX_DEPTH} deep, got {quote_value(text)}")


class _Budget:
    """How much may still be built; the commas of the text itself are counted from the start."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._elements = MAX_ELEMENTS - text.count(",") - 1
        self._chars = _MAX_CHARS - len(text)

    def take(self, copies: int, copy: str, width: int = 0) -> None:
        self._elements -= copies * (copy.count(",") + 1)
        self._chars -= copies * (len(copy) + width)
        if self._elements < 0:
            raise too_many_elements(self._text)
        if self._chars < 0:
            raise ParsetError(f"expected at most {_MAX_CHARS} characters, got more with {quote_value(self._text)}")

    def number(self, digits: str) -> int:
        digits = digits.lstrip("0") or "0"  # thousands of zeros are more than int takes
        if len(digits) > 10 or int(digits) > _MAX_NUMBER:
            raise ParsetError(f"expected a number up to {_MAX_NUMBER}, got {quote_value(digits)}")
        return int(digits)

    def multiplied(self, times: int, copies: int) -> int:
        """Return how often a text comes if it comes `copies` times in something that comes `times` times."""
        if times * copies > MAX_ELEMENTS:
            raise too_many_elements(self._text)
        return times * copies


class _Repeats(_Budget):
    """
    `n*x`, `n*(a;b)` and `n*[a,b]`: n copies with commas between.

    Parentheses go, and their semicolons become commas.
    """

    def expanded(self, text: str, depth: int = 0, times: int = 1) -> str:
        """Return the text without repeats; one that is itself a copy (depth > 0) may begin with a repeat."""
        if depth > MAX_DEPTH:
            raise ParsetError(f"expected repeats at most {MAX_DEPTH} deep, got {quote_value(text)}")
        pieces: list[str] = []
        copied = position = 0
        match = _REPEAT.match(text) if depth else None
        while match := match or _REPEAT_OR_QUOTE.search(text, position):
            if not match[1]:
                position = closing_quote(text, match.start()) + 1
                match = None
                continue
            pieces.append(text[copied : match.start(1)])
            n = self.number(match[1])
            body, end = _body(text, match.end())
            copied = position = _run_end(text, end) if n and _goes_on(body) else end
            if n:
                pieces += self._copies(n, body, text[end:copied], depth + 1, self.multiplied(times, n))
            # Without a copy, what follows stands where a repeat may: `0*(a)2*b`.
            match = None if n else _REPEAT.match(text, position)
        return "".join((*pieces, text[copied:]))

    def _copies(self, n: int, body: str, tail: str, depth: int, times: int) -> list[str]:
        copies: list[str] = []
        n_equal = n - 1 if tail else n
        if n_equal:
            copy = self.expanded(body, depth, times)
            self.take(n_equal, copy)
            copies.append((copy + ",") * (n_equal - 1) + copy)
        if tail:
            copies += [","] * bool(n_equal)
            copies.append(self.expanded(body + tail, depth, times))
        return copies


def _body(text: str, start: int) -> tuple[str, int]:
    """Return what is repeated, and where it ends."""
    opener = text[start : start + 1]
    if opener == "(":
        end = _closing_bracket(text, start)
        return _GROUP_PIECE.sub(lambda match: match[1] or ",", text[start + 1 : end]), end + 1
    end = _closing_bracket(text, start) + 1 if opener == "[" else _run_end(text, start)
    return text[start:end], end


def _goes_on(body: str) -> bool:
    """Whether what directly follows the last copy may belong to a repeat: `2*(2*a)b` is a,a,ab,ab."""
    return not body.startswith("[") and ("*" in body or body.rstrip()[-1:] in ",[(")


def _run_end(text: str, position: int) -> int:
    """Return where a comma or closing bracket ends the text, quotes and `()`, `[]` skipped; `{}` never counted."""
    while position < len(text):
        match = _RUN.match(text, position)
        if match:
            position = match.end()
        elif text[position] in "'\"":
            position = closing_quote(text, position) + 1
        elif text[position] in "([":
            position = _closing_bracket(text, position) + 1
        else:
            break
    return position


def _closing_bracket(text: str, position: int) -> int:
    opener = text[position]
    depth, start = 0, position
    while match := _MARK_OF[opener].search(text, position):
        position = match.end()
        if match[0] in "'\"":
            position = closing_quote(text, match.start()) + 1
            continue
        depth += 1 if match[0] == opener else -1
        if not depth:
            return match.start()
    closer = ")" if opener == "(" else "]"
    raise ParsetError(f"expected a closing {closer!r}, got none in {quote_value(text[start:])}")


class _Ranges(_Budget):
    """
    `prefixNN..[prefix]MM[suffix]`: numbers up or down, as wide as the first.

    `{NN..MM}` separates the digits from the text around. What is made is read again: the suffix may hold a range.
    """

    def expanded(self, text: str) -> str:
        """Return the text without ranges; commas in quotes and those of nested lists are all the same here."""
        if ".." not in text and "'" not in text and '"' not in text:
            return text
        parts: list[_Part] = []
        position = 0
        while position < len(text):
            match = _ELEMENT.match(text, position)
            assert match
            element, end = match[0], match.end()
            if end < len(text) and text[end] != ",":
                closing_quote(text, end)
            parts += self._element(element, 1, 0) if ".." in element else [element]
            parts.append(text[end : end + 1])
            position = end + 1
        return "".join(part if isinstance(part, str) else _written_out(*part) for part in parts)

    def _element(self, text: str, times: int, depth: int) -> "list[_Part]":
        if len(text) > _MAX_RANGE_CHARS:
            wanted = f"an element with a range to have at most {_MAX_RANGE_CHARS} characters"
            raise ParsetError(f"expected {wanted}, got {quote_value(text)}")
        parts: list[_Part] = []
        position = looked = token = 0
        while match := _RANGE_OR_QUOTE.search(text, position):
            token = max(token, 1 + max(text.rfind(mark, looked, match.start()) for mark in _BEFORE_PREFIX))
            position, looked = match.end(), match.end(1) if match[1] else match.end()
            found = _range(text, token, match) if match[1] else None
            if not found:
                continue
            depth += 1
            if depth > MAX_DEPTH:
                raise ParsetError(f"expected at most {MAX_DEPTH} ranges in an element, got {quote_value(text)}")
            prefix, digits, suffix, end = found
            width, numbers = len(match[1]), self._numbers(match[1], digits)
            # What follows the suffix follows the last copy only, and does not multiply.
            inner = self.multiplied(times, len(numbers))
            self.take(len(numbers) - 1, prefix + suffix, width)
            parts.append(text[:token])
            if ".." in suffix:
                for number in numbers[:-1]:
                    parts += (*self._element(f"{prefix}{number:0{width}d}{suffix}", inner, depth), ",")
            else:
                parts.append((prefix, numbers[:-1], width, suffix))
            text = f"{prefix}{numbers[-1]:0{width}d}{suffix}{text[end:]}"
            position = looked = token = 0
        return [*parts, text]

    def _numbers(self, first: str, last: str) -> range:
        low, high = self.number(first), self.number(last)
        step = 1 if high >= low else -1
        return range(low, high + step, step)


# Of what is made: text, or a range that is written out when all is known to be within the limits.
_Part = str | tuple[str, range, int, str]


def _written_out(prefix: str, numbers: range, width: int, suffix: str) -> str:
    return "".join([f"{prefix}{number:0{width}d}{suffix}," for number in numbers])


def _range(text: str, token: int, match: re.Match[str]) -> tuple[str, str, str, int] | None:
    """
    Look for a range around first number and dots.

    Args:
        token: Where the prefix begins.

    Returns:
        The prefix, the last number, the suffix, where that ends; None if there is no range.
    """
    first, after = match.start(1), match.end()
    prefix = text[token:first] if first - token <= _MAX_PREFIX else ""
    last = _DIGITS.match(text, after + len(prefix) if text.startswith(prefix, after) else after)
    if not last:
        return None
    prefix, end = text[token:first], last.end()
    if prefix[-1:] == "{" and text[end : end + 1] == "}":
        prefix, end = prefix[:-1], end + 1
    suffix = _SUFFIX.match(text, end)
    assert suffix
    return prefix, last[0], suffix[0], suffix.end()
