"""
Lines of a parset: each key with its value and where both stand, read once from the first character to the last.

`#` outside quotes starts a comment. A line without `=` goes on with the value before it, joined with a blank unless
it begins with a quote; before the first key it belongs to the first key's value. `i=b=c` is an empty `i`, and `b=c`.
A backslash at the end of a line is dropped. So did the original; strict mode refuses the last but one and the glue.
"""

import re
from dataclasses import dataclass, field

from pipeline.formats.values import WHITESPACE, quote_value

__all__ = ["Entry", "ParsedLines", "parse_lines", "place_of"]

_MAX_NOTES = 100
_TOKEN = re.compile(r"""[^'"#=]++|'[^']*+'|"[^"]*+"|.""", re.DOTALL)
_QUOTED = re.compile(r"""'([^']*+)'|"([^"]*+)\"""")
_LINE = re.compile(r"\s*+([^\n]*+)", re.ASCII)  # with the blank lines before it


@dataclass(slots=True)
class Entry:
    """
    A key's value as it stands, and where: in characters from the start of the text.

    Attributes:
        key_at: Where the key begins; -1 if it is in no text.
        start: Where the first of its lines begins.
        value_at: Where its value begins on the key's line.
        end: Behind its last line, the line feed not included.
        is_alone: No other key is on its line.
        earlier: The same key before, whose value does not count.
    """

    value: str
    key_at: int = -1
    start: int = 0
    value_at: int = 0
    end: int = 0
    is_alone: bool = True
    earlier: "Entry | None" = None


@dataclass
class ParsedLines:
    """
    What a text holds.

    Attributes:
        entries: By key, in the order in which the keys first appear; of a repeated key the last.
        problems: `source:line:column: expected ..., got ...`, at most 100.
        warnings: The same for quirks that are kept, at most 100.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def parse_lines(text: str, source: str, *, strict: bool = False) -> ParsedLines:
    """
    Read all lines.

    Args:
        source: What the problems name, e.g. the path.
        strict: Quirks are problems, not warnings.
    """
    reader = _Reader(text, source, strict)
    position = 0
    while position < len(text) and len(reader.parsed.problems) < _MAX_NOTES:
        match = _LINE.match(text, position)
        assert match
        position = match.end() + 1
        if match[1]:
            reader.add(match.start(1), match[1])
    reader.finish()
    return reader.parsed


def place_of(text: str, position: int) -> str:
    """Return `line:column`, both from 1."""
    return f"{text.count(chr(10), 0, position) + 1}:{position - text.rfind(chr(10), 0, position)}"


class _Reader:
    """Takes line by line and remembers the key whose value may go on."""

    def __init__(self, text: str, source: str, strict: bool) -> None:
        self.parsed = ParsedLines()
        self._text = text
        self._source = source
        self._quirks = self.parsed.problems if strict else self.parsed.warnings
        self._key: str | None = None
        self._entry = Entry("")
        self._pieces: list[str] = []

    def add(self, start: int, line: str) -> None:
        """Take a line without blanks in front."""
        if line[0] == "#":
            return
        end, equals = self._scan(start, line)
        if end < 0:
            return
        content = line[:end].rstrip(WHITESPACE)
        if content.endswith("\\"):
            content = content[:-1].rstrip(WHITESPACE)
        if not equals:
            self._go_on(start, content, len(line))
            return
        at = 0
        for equal in equals:
            self._begin(start, at, content[at:equal], is_alone=len(equals) == 1)
            at = equal + 1
        if len(equals) > 1:
            self._quirk(start + equals[1], "expected one '=' outside quotes, got another; put the value in quotes")
        self._take(content[at:].strip(WHITESPACE), start + len(line))
        value = line[at:]
        self._entry.value_at = start + at + len(value) - len(value.lstrip(WHITESPACE))

    def finish(self) -> None:
        """Keep the last entry; what was before any key is lost if there is none."""
        if self._key is None and self._pieces:
            self._quirk(self._entry.start, f"expected key = value, got {quote_value(self._pieces[0])} and no key")
        self._keep()

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
            elif piece in "'\"":
                self._problem(start + match.start(), f"expected a closing {piece} on this line, got none")
                return -1, []
        return len(line), equals

    def _begin(self, line_start: int, at: int, text: str, *, is_alone: bool) -> None:
        """Begin a key; the value of the one before is complete."""
        self._keep()
        key_at = line_start + at + len(text) - len(text.lstrip(WHITESPACE))
        # Only blanks behind it go: the second key of `i = b=c` keeps the blank in front, as in the original.
        key = _without_quotes(text)
        if not key:
            self._problem(key_at, "expected a key before '='")
        is_first = self._key is None
        start = self._entry.start if is_first and self._pieces else self._line_start(line_start)
        self._key = key
        self._entry = Entry("", key_at, start, key_at, line_start + at, is_alone=is_alone)
        if is_first and self._pieces:
            self._quirk(start, f"expected key = value, got {quote_value(self._pieces[0])} before the first key")

    def _go_on(self, start: int, content: str, n_chars: int) -> None:
        if self._key is None and not self._pieces:
            self._entry.start = self._line_start(start)
        self._take(content, start + n_chars)

    def _take(self, content: str, end: int) -> None:
        self._entry.end = end
        if content:
            self._pieces += [" ", content] if self._pieces and content[0] not in "'\"" else [content]

    def _keep(self) -> None:
        if self._key is None:
            return
        entry = self._entry
        entry.value = "".join(self._pieces)
        self._pieces = []
        earlier = self.parsed.entries.get(self._key)
        if earlier:
            entry.earlier = earlier
        if earlier and len(self.parsed.warnings) < _MAX_NOTES:
            where, first = place_of(self._text, entry.key_at), place_of(self._text, earlier.key_at)
            problem = f"expected {quote_value(self._key)} once, got it again (before at {first}); the last counts"
            self.parsed.warnings.append(f"{self._source}:{where}: {problem}")
        self.parsed.entries[self._key] = entry

    def _line_start(self, position: int) -> int:
        return self._text.rfind("\n", 0, position) + 1

    def _problem(self, position: int, message: str) -> None:
        if len(self.parsed.problems) < _MAX_NOTES:
            self.parsed.problems.append(f"{self._source}:{place_of(self._text, position)}: {message}")

    def _quirk(self, position: int, message: str) -> None:
        if len(self._quirks) < _MAX_NOTES:
            self._quirks.append(f"{self._source}:{place_of(self._text, position)}: {message}")


def _without_quotes(text: str) -> str:
    """Remove the quotes, which are in pairs, and the blanks behind a key."""
    text = text.rstrip(WHITESPACE)
    return _QUOTED.sub(lambda match: match[1] or match[2] or "", text) if text.strip(WHITESPACE) else ""
