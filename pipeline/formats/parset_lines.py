"""
Lines of a parset: each key with its value and where both stand, read once from the first character to the last.

`#` outside quotes starts a comment. A line without `=` goes on with the value before it, joined with a blank unless
it begins with a quote; before the first key it belongs to the first key's value. `i=b=c` is an empty `i`, and `b=c`.
A backslash at the end of a line is dropped. So did the original; strict mode refuses the last but one and the glue.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pipeline.formats.values import WHITESPACE, quote_value

__all__ = ["Block", "Entry", "ParsedLines", "parse_lines", "read_blocks"]

_MAX_NOTES = 100
_MAX_COUNT = 10**6  # of keys and of lines, so that no file of an allowed size fills the memory
_TOKEN = re.compile(r"""[^'"#=]++|'[^']*+'|"[^"]*+"|.""", re.DOTALL)
_QUOTED = re.compile(r"""'([^']*+)'|"([^"]*+)\"""")
_LINE = re.compile(r"\s*+([^\n]*+)", re.ASCII)  # with the blank lines before it


@dataclass(slots=True)
class Entry:
    """A key, its value as it stands, and the place of the key, both from 1; line 0 if it is in no text."""

    key: str
    value: str
    line: int = 0
    column: int = 0


@dataclass(slots=True)
class Block:
    """
    The lines of a key and its value, or of the keys that share a line: characters from the start of the text.

    Attributes:
        start: Where the first line begins.
        value_at: Where the value of the last key begins on its line.
        end: Behind the last line, the line feed not included.
    """

    start: int
    value_at: int
    end: int
    entries: list[Entry] = field(default_factory=list)


@dataclass
class ParsedLines:
    """
    What a text holds.

    Attributes:
        entries: By (folded) key, in the order in which the keys first appear; of a repeated key the last.
        problems: `source:line:column: expected ..., got ...`, at most 100.
        warnings: The same for quirks that are kept, at most 100.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def parse_lines(text: str, source: str, *, strict: bool = False, fold: Callable[[str], str] = str) -> ParsedLines:
    """
    Read all lines.

    Args:
        source: What the problems name, e.g. the path.
        strict: Quirks are problems, not warnings.
        fold: Gives the same for keys that are the same.
    """
    parsed = ParsedLines()
    for block in _Reader(text, source, parsed, strict).blocks():
        for entry in block.entries:
            name = fold(entry.key)
            earlier = parsed.entries.get(name)
            if earlier and len(parsed.warnings) < _MAX_NOTES:
                what = f"{quote_value(entry.key)} once, got it again (before at {earlier.line}:{earlier.column})"
                parsed.warnings.append(f"{source}:{entry.line}:{entry.column}: expected {what}; the last counts")
            parsed.entries[name] = entry
    return parsed


def read_blocks(text: str) -> list[Block]:
    """Return where the keys of a text that `parse_lines` took stand, repeated ones included."""
    return list(_Reader(text, "", ParsedLines(), strict=False).blocks())


class _Reader:
    """Takes line by line and remembers the key whose value may go on."""

    def __init__(self, text: str, source: str, parsed: ParsedLines, strict: bool) -> None:
        self._text = text
        self._source = source
        self._problems = parsed.problems
        self._quirks = parsed.problems if strict else parsed.warnings
        self._block: Block | None = None
        self._pieces: list[str] = []
        self._glue_at = 0  # where the lines before the first key begin
        self._line = 1
        self._n_keys = 0

    def blocks(self) -> Iterator[Block]:
        """Yield each block when it is complete."""
        position = n_lines = 0
        while position < len(self._text) and len(self._problems) < _MAX_NOTES:
            match = _LINE.match(self._text, position)
            assert match
            start = match.start(1)
            # The line feed of the line before counts too, except in front of the first line.
            self._line += self._text.count("\n", max(position - 1, 0), start)
            position = match.end() + 1
            if not match[1]:
                continue
            n_lines += 1
            if n_lines > _MAX_COUNT or self._n_keys > _MAX_COUNT:
                what = "lines" if n_lines > _MAX_COUNT else "keys"
                self._problem(start, f"expected at most {_MAX_COUNT} {what}, got more")
                return
            before = self._block
            if match[1][0] != "#":
                self._add(start, match[1])
            if before and self._block is not before:
                yield before
        if self._block:
            self._keep()
            yield self._block
        elif self._pieces:
            self._quirk(self._glue_at, f"expected key = value, got {quote_value(self._pieces[0])} and no key")

    def _add(self, start: int, line: str) -> None:
        """Take a line without blanks in front."""
        end, equals = self._scan(start, line)
        if end < 0:
            return
        content = line[:end].rstrip(WHITESPACE)
        if content.endswith("\\"):
            content = content[:-1].rstrip(WHITESPACE)
        if not equals:
            if not self._block and not self._pieces:
                self._glue_at = self._line_start(start)
            self._take(content, start + len(line))
            return
        self._n_keys += len(equals)
        self._begin_block(start)
        at = 0
        for equal in equals:
            self._begin_key(start, at, content[at:equal])
            at = equal + 1
        if len(equals) > 1:
            self._quirk(start + equals[1], "expected one '=' outside quotes, got another; put the value in quotes")
        self._take(content[at:].strip(WHITESPACE), start + len(line))
        value = line[at:]
        assert self._block
        self._block.value_at = start + at + len(value) - len(value.lstrip(WHITESPACE))

    def _scan(self, start: int, line: str) -> tuple[int, list[int]]:
        """Return where the content ends and where `=` are, outside quotes; -1 if there is a problem."""
        if "'" not in line and '"' not in line and "#" not in line:
            first = line.find("=")
            if first < 0 or line.find("=", first + 1) < 0:
                return len(line), [first] * (first >= 0)
        equals: list[int] = []
        for match in _TOKEN.finditer(line):
            piece = match[0]
            if piece == "#":
                return match.start(), equals
            if piece == "=":
                equals.append(match.start())
                if len(equals) > _MAX_COUNT:
                    self._problem(start, f"expected at most {_MAX_COUNT} keys, got more")
                    return -1, []
            elif piece in "'\"":
                self._problem(start + match.start(), f"expected a closing {piece} on this line, got none")
                return -1, []
        return len(line), equals

    def _begin_block(self, start: int) -> None:
        """Begin the lines of one or more keys; the value of the key before is complete."""
        if self._block:
            self._keep()
        is_glued = not self._block and bool(self._pieces)
        first = self._glue_at if is_glued else self._line_start(start)
        self._block = Block(first, start, start)
        if is_glued:
            self._quirk(first, f"expected key = value, got {quote_value(self._pieces[0])} before the first key")

    def _begin_key(self, start: int, at: int, text: str) -> None:
        assert self._block
        if self._block.entries:
            self._keep()
        key_at = start + at + len(text) - len(text.lstrip(WHITESPACE))
        # Only blanks behind it go: the second key of `i = b=c` keeps the blank in front, as in the original.
        key = _without_quotes(text)
        if not key:
            self._problem(key_at, "expected a key before '='")
        self._block.entries.append(Entry(key, "", self._line, key_at - self._line_start(start) + 1))

    def _take(self, content: str, end: int) -> None:
        if self._block:
            self._block.end = end
        if content:
            self._pieces += [" ", content] if self._pieces and content[0] not in "'\"" else [content]

    def _keep(self) -> None:
        """Give the key before its value."""
        assert self._block
        self._block.entries[-1].value = "".join(self._pieces)
        self._pieces = []

    def _line_start(self, position: int) -> int:
        return self._text.rfind("\n", 0, position) + 1

    def _problem(self, position: int, message: str) -> None:
        self._note(self._problems, position, message)

    def _quirk(self, position: int, message: str) -> None:
        self._note(self._quirks, position, message)

    def _note(self, notes: list[str], position: int, message: str) -> None:
        if len(notes) < _MAX_NOTES:
            line = self._text.count("\n", 0, position) + 1
            notes.append(f"{self._source}:{line}:{position - self._line_start(position) + 1}: {message}")


def _without_quotes(text: str) -> str:
    """Remove the quotes, which are in pairs, and the blanks behind a key."""
    text = text.rstrip(WHITESPACE)
    return _QUOTED.sub(lambda match: match[1] or match[2] or "", text) if text.strip(WHITESPACE) else ""
