"""The text of a parset after an edit: what was not touched stays byte for byte, comments included."""

import re
from collections.abc import Callable, Mapping

from pipeline.errors import ParsetError
from pipeline.formats.parset_lines import Block, Entry, parse_lines, read_blocks
from pipeline.formats.values import WHITESPACE, quote, quote_value, show_key

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
            f"{show_key(key)}: expected a value that can stand on one line "
            f"('#' and '=' only in quotes), got {quote_value(value)}"
        )
    return line


def edited_text(text: str, entries: Mapping[str, Entry], fold: Callable[[str], str] = str) -> str:
    """
    Return `text` changed so that it holds `entries` and nothing else.

    The text is read again and compared: what an edit did, and in which order, does not matter.

    Args:
        text: Its lines stay where their keys and values are still the same; a repeated key's last value counts.
        entries: By folded key; those that the text does not have come at the end.
        fold: As of `parse_lines`.

    Raises:
        ParsetError: With a line for each value that cannot stand in a file.
    """
    line_feed = "\r\n" if "\r\n" in text else "\n"
    blocks = read_blocks(text)
    last = {fold(entry.key): entry for block in blocks for entry in block.entries}
    problems: list[str] = []
    pieces: list[str] = []
    position = 0
    for block in blocks:
        names = [fold(entry.key) for entry in block.entries]
        found = [
            (entry, entries.get(name), last[name] is entry) for name, entry in zip(names, block.entries, strict=True)
        ]
        # Of a repeated key only the last entry has to agree; the others stay as long as the key does.
        if all(now and (not is_last or now.value == entry.value) for entry, now, is_last in found):
            continue
        left = [now for _, now, is_last in found if now and is_last]
        lines = _lines(left, problems)
        pieces.append(text[position : block.start])
        if len(block.entries) == 1 and lines:
            pieces.append(_on_its_line(text, block, left[0].value, lines[0]))
            position = block.end
        else:
            pieces += [line + line_feed for line in lines]
            position = min(block.end + 1, len(text))
    added = _lines([entry for name, entry in entries.items() if name not in last], problems)
    if problems:
        raise ParsetError(problems)
    rest = "".join((*pieces, text[position:]))
    if added and not blocks and parse_lines(rest, "").warnings:
        rest = ""  # lines without a key: in front of a new key they would become part of its value
    return _with_lines(rest, added, line_feed)


def _with_lines(text: str, lines: list[str], line_feed: str) -> str:
    if lines and text and not text.endswith("\n"):
        text += line_feed
    return text + "".join(line + line_feed for line in lines)


def _lines(entries: list[Entry], problems: list[str]) -> list[str]:
    lines: list[str] = []
    for entry in entries:
        try:
            lines.append(format_entry(entry.key, entry.value))
        except ParsetError as error:
            problems += error.problems
    return lines


def _on_its_line(text: str, block: Block, value: str, line: str) -> str:
    """Keep how the key is written and the comment behind the value's first line."""
    if "\n" in text[block.start : block.value_at]:
        return line
    match = _FIRST_PIECE.match(text, block.value_at, block.end)
    content = match[0].rstrip(WHITESPACE) if match else ""
    first_line_end = text.find("\n", block.value_at, block.end)
    rest = text[block.value_at + len(content) : block.end if first_line_end < 0 else first_line_end]
    blank = " " if rest.startswith("#") else ""
    return f"{text[block.start : block.value_at]}{value.strip(WHITESPACE)}{blank}{rest}"
