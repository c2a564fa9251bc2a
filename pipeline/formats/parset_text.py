"""The text of a parset after an edit: what was not touched stays byte for byte, comments included."""

import re
from collections.abc import Collection, Iterable, Mapping

from pipeline.errors import ParsetError
from pipeline.formats.parset_lines import Entry, parse_lines
from pipeline.formats.values import WHITESPACE, quote, quote_value

__all__ = ["edited_text", "format_entry"]

_FIRST_PIECE = re.compile(r"""(?:[^'"#\n]++|'[^'\n]*+'|"[^"\n]*+")*+""")
_PLAIN_KEY = re.compile(r"""[^\s=#'"\\](?:[^=#'"\\\n]*[^\s=#'"\\])?""")


def format_entry(key: str, value: str) -> str:
    """
    Return `key=value` as it can stand on a line.

    Raises:
        ParsetError: For what would not be read back: line feeds, `#` or a second `=` outside quotes, single quotes.
    """
    name = key if _PLAIN_KEY.fullmatch(key) else quote(key)
    line = f"{name}={value.strip(WHITESPACE)}"
    parsed = parse_lines(line, "")
    entry = parsed.entries.get(key)
    if "\n" in line or parsed.problems or len(parsed.entries) != 1 or not entry or f"{name}={entry.value}" != line:
        raise ParsetError(
            f"{key if key.isprintable() else ascii(key)}: expected a value that can stand on one line "
            f"('#' and '=' only in quotes), got {quote_value(value)}"
        )
    return line


def edited_text(text: str, entries: Mapping[str, Entry], edited: Collection[str], removed: Iterable[Entry]) -> str:
    """
    Return `text` with its changes.

    Args:
        text: What the entries with a place were read from.
        entries: All that there are; those without a place are added at the end.
        edited: Keys with a place whose value is another than in the text.
        removed: Entries of the text that are no more.

    Raises:
        ParsetError: With a line for each value that cannot stand in a file.
    """
    line_feed = "\r\n" if "\r\n" in text else "\n"
    changes, problems = _changes(text, entries, edited, removed, line_feed)
    added: list[str] = []
    for key, entry in entries.items():
        if entry.key_at < 0:
            _try(added, problems, key, entry.value)
    if problems:
        raise ParsetError(problems)
    pieces: list[str] = []
    position = 0
    for start, end, replacement in sorted(changes):
        pieces += [text[position:start], replacement]
        position = max(position, end)
    pieces.append(text[position:])
    rest = "".join(pieces)
    if added and len(added) == len(entries) and parse_lines(rest, "").warnings:
        rest = ""  # lines without a key: in front of a new key they would become part of its value
    if added and rest and not rest.endswith("\n"):
        rest += line_feed
    return rest + "".join(line + line_feed for line in added)


def _changes(
    text: str, entries: Mapping[str, Entry], edited: Collection[str], removed: Iterable[Entry], line_feed: str
) -> tuple[list[tuple[int, int, str]], list[str]]:
    """Return (start, end, replacement), and problems. A line of several keys is written anew, a line for each."""
    gone = [earlier for entry in removed for earlier in _with_earlier(entry)]
    touched = [entries[key] for key in edited if entries[key].key_at >= 0]
    shared = {entry.start for entry in (*gone, *touched) if not entry.is_alone}
    changes: list[tuple[int, int, str]] = []
    problems: list[str] = []
    for key, entry in entries.items():
        if key not in edited or entry.start in shared:
            continue
        lines: list[str] = []
        _try(lines, problems, key, entry.value)
        if lines:
            changes.append((entry.start, entry.end, _on_its_line(text, entry, lines[0])))
    for start in shared:
        lines = []
        on_line = [(key, entry) for key, entry in entries.items() if entry.start == start and entry.key_at >= 0]
        for key, entry in on_line:
            _try(lines, problems, key, entry.value)
        ends = [entry.end for entry in (*gone, *(entry for _, entry in on_line)) if entry.start == start]
        changes.append((start, _behind(text, max(ends)), "".join(line + line_feed for line in lines)))
    changes += [(entry.start, _behind(text, entry.end), "") for entry in gone if entry.start not in shared]
    return changes, problems


def _with_earlier(entry: Entry) -> Iterable[Entry]:
    """Yield an entry and those of the same key before it."""
    found: Entry | None = entry
    while found:
        yield found
        found = found.earlier


def _on_its_line(text: str, entry: Entry, line: str) -> str:
    """Keep how the key is written and the comment behind the value's first line."""
    if "\n" in text[entry.start : entry.value_at]:
        return line
    match = _FIRST_PIECE.match(text, entry.value_at, entry.end)
    content = match[0].rstrip(WHITESPACE) if match else ""
    first_line_end = text.find("\n", entry.value_at, entry.end)
    rest = text[entry.value_at + len(content) : entry.end if first_line_end < 0 else first_line_end]
    blank = " " if rest.startswith("#") else ""
    return f"{text[entry.start : entry.value_at]}{entry.value.strip(WHITESPACE)}{blank}{rest}"


def _behind(text: str, end: int) -> int:
    return min(end + 1, len(text))


def _try(lines: list[str], problems: list[str], key: str, value: str) -> None:
    try:
        lines.append(format_entry(key, value))
    except ParsetError as error:
        problems += error.problems
