"""
Text of `pipeline.cfg` and of task files: `[section]` and `key = value`, each value with its line.

configobj reads the values; before that every line is looked at here, because configobj does not tell the lines of
keys, takes exponential or quadratic time on some lines, and does not know what the original's files may hold:
comments with `;`, `key: value`, and values that go on over indented lines.
"""

import re
from dataclasses import dataclass, field

from pipeline.formats.values import quote_value

__all__ = ["Entry", "ParsedSections", "Sections", "parse_sections"]

_SECTION = re.compile(r"\[([A-Za-z0-9_ .:+-]*)\]\s*+(?:[#;].*)?")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_MANY_BLANKS = re.compile(r"\s{100}")
_MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """A value as it stands, without comment and outer quotes, and its line, from 1."""

    text: str
    line: int


Sections = dict[str, dict[str, Entry]]


@dataclass(frozen=True, slots=True)
class ParsedSections:
    """
    What a file holds.

    Attributes:
        sections: Sections and their entries in file order.
        lines: Where each section begins, from 1.
        problems: `source:line: expected ..., got ...`, all of them.
    """

    sections: Sections
    lines: dict[str, int]
    problems: list[str]


def parse_sections(text: str, source: str) -> ParsedSections:
    """
    Read sections of entries.

    Args:
        text: All of a file.
        source: Its path, for the problems.
    """
    scan = _Scan(source)
    for number, line in enumerate(text.split("\n"), 1):
        scan.add(number, line)
    sections = _read_values(scan)
    shown = scan.problems[:_MAX_PROBLEMS]
    if len(scan.problems) > _MAX_PROBLEMS:
        shown.append(f"{source}: {len(scan.problems) - _MAX_PROBLEMS} more problems")
    return ParsedSections(sections, scan.section_lines, shown)


@dataclass
class _Scan:
    """Lines made fit for configobj, one for one, and where each key stands."""

    source: str
    lines: list[list[str]] = field(default_factory=list)  # each the pieces to join with one blank
    blocks: list[tuple[str, dict[str, int]]] = field(default_factory=list)  # section and its keys' lines; "" is bad
    section_lines: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _is_continued: bool = False  # an indented line without a key may go on here: the piece goes to _entry
    _entry: list[str] = field(default_factory=list)

    def add(self, number: int, line: str) -> None:
        stripped = line.strip()
        self.lines.append([])
        if not stripped or stripped[0] in "#;":
            return
        if _MANY_BLANKS.search(stripped):
            self.note(number, "expected less than 100 blanks in a row")
        elif stripped[0] == "[":
            self._add_section(number, stripped)
        else:
            self._add_entry(number, stripped, is_indented=line[0].isspace())

    def note(self, number: int, problem: str) -> None:
        self.problems.append(f"{self.source}:{number}: {problem}")

    def _add_section(self, number: int, line: str) -> None:
        match = _SECTION.fullmatch(line)
        name = match[1].strip() if match else ""
        if not name:
            self.note(number, f"expected [section], got {quote_value(line)}")
        elif name in self.section_lines:
            first = self.section_lines[name]
            self.note(number, f"expected each section once, got [{name}] again (first in line {first})")
        self.section_lines.setdefault(name, number)
        # A number instead of the name: configobj mixes nothing up, whatever is wrong with the name.
        self.lines[-1].append(f"[{len(self.blocks)}]")
        self.blocks.append((name, {}))
        self._is_continued = False

    def _add_entry(self, number: int, line: str, *, is_indented: bool) -> None:
        key, value = _split_entry(line)
        if value is None and is_indented and self._is_continued:
            self._continue(number, line)
        elif problem := self._problem_with(key, value, line):
            self.note(number, problem)
            self._is_continued = False
        else:
            self.blocks[-1][1][key] = number
            self.lines[-1].append(f"{key} = {value}")
            self._entry = self.lines[-1]
            self._is_continued = True

    def _problem_with(self, key: str, value: str | None, line: str) -> str:
        if value is None or not _KEY.fullmatch(key):
            return f"expected 'key = value' or [section], got {quote_value(line)}"
        if not self.blocks:
            return f"{key}: expected a [section] before the first key, e.g. [DEFAULT]"
        section, keys = self.blocks[-1]
        if key in keys:
            return f"[{section}] {key}: expected once, got it again (first in line {keys[key]})"
        if "'''" in value or '"""' in value:
            return f"[{section}] {key}: expected quotes once, got three in a row"
        return ""

    def _continue(self, number: int, line: str) -> None:
        if "#" in self._entry[-1]:
            self.note(number, "expected no comment in a line that goes on in the next, got '#'")
        else:
            self._entry.append(line)


def _split_entry(line: str) -> tuple[str, str | None]:
    """Split at the first `=`, or at a `:` before it as the original allowed; None if there is neither."""
    key, equals, value = line.partition("=")
    old_key, colon, old_value = line.partition(":")
    if colon and len(old_key) < len(key) and _KEY.fullmatch(old_key.strip()):
        return old_key.strip(), old_value.strip()
    return key.strip(), value.strip() if equals else None


def _read_values(scan: _Scan) -> Sections:
    from configobj import ConfigObj, ConfigObjError  # 20 ms, not needed without a configuration file

    lines = [" ".join(pieces) for pieces in scan.lines]
    try:
        values = ConfigObj(lines, interpolation=False, list_values=False, raise_errors=False)
    except ConfigObjError as error:
        for problem in error.errors:
            line = quote_value(problem.line)
            scan.note(problem.line_number, f"expected a value in quotes as a whole, or without quotes, got {line}")
        values = error.config
    scan.section_lines.pop("", None)
    sections: Sections = {}
    for number, (section, keys) in enumerate(scan.blocks):
        found = values[str(number)]
        entries = {key: Entry(_unquote(found[key]), line) for key, line in keys.items() if key in found}
        if section:
            sections.setdefault(section, {}).update(entries)
    return sections


def _unquote(value: str) -> str:
    """Remove quotes around the whole of a value; `'a', 'b'` keeps them."""
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"" and value[0] not in value[1:-1]:
        return value[1:-1]
    return value
