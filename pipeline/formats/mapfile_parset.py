"""The parset form of a mapfile: `host=[ file, file ]`, read and written."""

import re
from collections.abc import Iterable
from itertools import repeat

from pipeline.formats.mapfile_reader import MAX_NAME_CHARS, Problem, Reader, check_length
from pipeline.formats.values import WHITESPACE, quote, quote_value
from pipeline.model.products import DataProduct

__all__ = ["ParsetReader", "format_parset_record"]

# Possessive throughout: each pattern looks at a character a fixed number of times, whatever the text. ASCII: other
# blanks, such as U+00A0, belong to a name, as in every parset.
_SPACE = re.compile(r"\s*+(?:(?:#[^\n]*+|\\(?=\r?\n|\Z))\s*+)*+", re.ASCII)  # comments, trailing backslashes
_BLANKS = re.compile(r"[^\S\n]*+", re.ASCII)
_KEY = re.compile(r"[^=\n#\[\],]*+")
_QUOTED = re.compile(r"""'[^'\n]*+'|"[^"\n]*+\"""")
_UNQUOTED = re.compile(r"""(?:[^,\[\]'"#\n\\]++|\\(?!\r?\n|\Z))++""")
_SIMPLE = re.compile(
    r"""([^\s=,\[\]'"#]++)[^\S\n]*+=[^\S\n]*+\[([^\[\]'"#\\]++)\][^\S\n]*+(?:#[^\n]*+)?+(?:\n\s*+|\Z)""", re.ASCII
)
_LIST_RECORD = re.compile(r"""[^\S\n]*+[^\s=,\[\]'"#]++[^\S\n]*+=[^\S\n]*+\[""", re.ASCII)
_RECORD = re.compile(r"""^[^\S\n]*+[^\s=,\[\]'"#]++[^\S\n]*+=[^\S\n]*+[\[/'"]""", re.ASCII | re.MULTILINE)
_NEXT_HOST = re.compile(r"""[^\S\n]([^\s=,/\[\]'"#]++)[^\S\n]*+=[^\S\n]*+[\[/'"]""", re.ASCII)
_PLAIN = re.compile(r"[^\s,\[\]'\"#\\](?:[^,\[\]'\"#\\\n]*[^\s,\[\]'\"#\\])?", re.ASCII)


def format_parset_record(host: str, files: Iterable[str]) -> str:
    """Return `host=[ file, file ]` and the end of the line; no name has a newline or NUL in it."""
    return f"{host}=[ {', '.join(file if _PLAIN.fullmatch(file) else quote(file) for file in files)} ]\n"


class ParsetReader(Reader):
    """Goes once through a text, from record to record."""

    def read(self) -> None:
        """Fill `products` and `problems`."""
        self._take(_SPACE)
        while self._at < len(self._text):
            try:
                if not self._has_simple_record():
                    self._record()
            except Problem as problem:
                self._note(problem)
                self._go_to_next_record(problem.position)
            if self._is_full():
                return
            self._take(_SPACE)

    def _has_simple_record(self) -> bool:
        """Read a record without quotes at once: that is most of them."""
        match = _SIMPLE.match(self._text, self._at)
        if not match:
            return False
        n_files = match[2].count(",") + 1
        self._count(n_files, match.start(2))  # a hostile list is refused before it takes memory
        files = [file.strip(WHITESPACE) for file in match[2].split(",")]
        if not all(files) or ("\n" in match[2] and any("\n" in file for file in files)):
            self._count(-n_files, match.start(2))
            return False
        if len(match[2]) > MAX_NAME_CHARS and (name := next((f for f in files if len(f) > MAX_NAME_CHARS), "")):
            check_length(name, self._text.index(name, match.start(2)))
        host = self._checked_host(match[1], match.start())
        self.products.extend(map(DataProduct, repeat(host), files))
        self._at = match.end()
        return True

    def _record(self) -> None:
        start = self._at
        key = self._take(_KEY).strip(WHITESPACE)
        if not key or self._mark() != "=":
            raise self._expected("host=[ file, ... ]", self._at if key else start)
        self._at += 1
        self._take(_BLANKS)
        mark = self._mark()
        # A scalar counts as a vector of one, as in every parset. A path only: or any parset would be a mapfile.
        if mark not in ("[", "/", "'", '"'):
            raise self._expected(f"'[' or an absolute path after {quote_value(key)} and '='")
        host = self._checked_host(_without_quotes(key), start)
        if mark == "[":
            self._at += 1
            self._files(host)
            self._end_of_record(host, "']'")
        else:
            self._only_file(host)

    def _only_file(self, host: str) -> None:
        start = self._at
        file = self._name()
        if not file.startswith("/"):
            raise Problem(start, f"expected '[' or an absolute path, got {quote_value(file)}")
        following = _NEXT_HOST.search(self._text, start, self._at)
        if following:
            raise _one_host_per_line(following.start(1), host, following[1])
        self._add(host, [file], start)
        self._end_of_record(host, quote_value(file))

    def _add(self, host: str, files: list[str], position: int) -> None:
        self._count(len(files), position)
        self.products.extend(map(DataProduct, repeat(host), files))

    def _files(self, host: str) -> None:
        """Read the names up to the closing bracket and step over it."""
        self._take(_SPACE)
        is_done = self._mark() == "]"
        self._at += is_done
        while not is_done:
            start = self._at
            file = self._name()
            self._add(host, [file], start)
            is_done = self._is_last(file)

    def _is_last(self, file: str) -> bool:
        """Step over the comma or the bracket after a name."""
        end = self._at
        self._take(_SPACE)
        mark = self._mark()
        if mark not in (",", "]") or not mark:
            raise self._expected(f"',' or ']' after {quote_value(file)}", end)
        self._at += 1
        if mark == "]":
            return True
        end = self._at
        self._take(_SPACE)
        line_end = self._text.rfind("\n", end, self._at)
        if line_end >= 0 and _LIST_RECORD.match(self._text, line_end + 1):
            raise self._expected("a file name", end)
        return False

    def _name(self) -> str:
        start = self._at
        pieces: list[str] = []
        is_quoted = False
        while piece := self._take(_QUOTED) or self._take(_UNQUOTED):
            is_quoted = piece[0] in "'\""
            pieces.append(piece[1:-1] if is_quoted else piece)
        mark = self._mark()
        if mark and mark in "'\"":
            raise Problem(self._at, f"expected a closing {mark} on this line, got none")
        if not pieces:
            raise self._expected("a file name")
        if not is_quoted:
            pieces[-1] = pieces[-1].rstrip(WHITESPACE)
        name = "".join(pieces)
        check_length(name, start)
        return name

    def _end_of_record(self, host: str, after: str) -> None:
        """Only blanks and a comment may follow on the line; a further record is read after its problem is noted."""
        self._take(_BLANKS)
        start = self._at
        if start >= len(self._text) or self._text[start] in "#\n":
            return
        key = self._take(_KEY).strip(WHITESPACE)
        if key and self._mark() == "=":
            self._note(_one_host_per_line(start, host, key))
            self._at = start
            return
        raise self._expected(f"end of line after {after}", start)

    def _go_to_next_record(self, position: int) -> None:
        following = self._text.find("\n", position)
        found = _RECORD.search(self._text, following) if following >= 0 else None
        self._at = found.start() if found else len(self._text)


def _without_quotes(key: str) -> str:
    return key[1:-1] if len(key) >= 2 and key[0] == key[-1] and key[0] in "'\"" else key


def _one_host_per_line(position: int, host: str, other: str) -> Problem:
    hosts = f"{quote_value(host)} and {quote_value(other)}"
    return Problem(position, f"expected one host per line, got {hosts}; start a new line here")
