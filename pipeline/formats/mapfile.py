"""
Mapfiles: which file is on which host.

A parset with one record per host, `host=[ file, file ]`, files in order. `#` starts a comment outside quotes; a list
may go on over several lines until its bracket closes. Names are taken as they stand, blanks inside them included;
a name with a comma, bracket, quote, `#` or a blank at an end stands in single or double quotes, and adjacent
pieces join (`'it'"'"'s'`). Nothing is expanded or evaluated.
"""

import re
from collections.abc import Iterable, Iterator

from pipeline.errors import HostNameError, MapfileError
from pipeline.formats.values import quote, quote_value
from pipeline.model.hosts import check_host_name

__all__ = ["format_mapfile", "parse_mapfile"]

_MAX_PROBLEMS = 100

# Possessive throughout: each pattern looks at a character a fixed number of times, whatever the text.
_SPACE = re.compile(r"\s*+(?:(?:#[^\n]*+|\\(?=\r?\n|\Z))\s*+)*+")  # with comments, ends of lines, trailing backslashes
_BLANKS = re.compile(r"[^\S\n]*+")
_KEY = re.compile(r"[^=\n#\[\],]*+")
_QUOTED = re.compile(r"""'[^'\n]*+'|"[^"\n]*+\"""")
_UNQUOTED = re.compile(r"""(?:[^,\[\]'"#\n\\]++|\\(?!\r?\n|\Z))++""")
_RECORD = re.compile(r"""^[^\S\n]*+[^\s=,\[\]'"#]++[^\S\n]*+=[^\S\n]*+\[""", re.MULTILINE)
_PLAIN = re.compile(r"[^\s,\[\]'\"#\\](?:[^,\[\]'\"#\\\n]*[^\s,\[\]'\"#\\])?")


def parse_mapfile(text: str, source: str = "<text>") -> list[tuple[str, str]]:
    """
    Read the parset form of a mapfile.

    Args:
        text: All of it.
        source: What the problems name, e.g. the path.

    Returns:
        (n,) pairs (host, file) in the order of the text; a host may come back later.

    Raises:
        MapfileError: With all problems, at most 100, each `source:line:column: expected ..., got ...`.
    """
    reader = _Reader(text, source)
    pairs = list(reader.pairs())
    if reader.problems:
        raise MapfileError(reader.problems)
    return pairs


def format_mapfile(pairs: Iterable[tuple[str, str]]) -> str:
    """
    Write one line per host, hosts in the order they first appear, each host's files in order.

    Raises:
        MapfileError: For what no mapfile can hold: a host that is no host name, a newline or NUL in a file's name.
    """
    files_of: dict[str, list[str]] = {}
    problems: list[str] = []
    for host, file in pairs:
        try:
            files_of.setdefault(check_host_name(host), []).append(_format_name(file))
        except (HostNameError, MapfileError) as error:
            problems += error.problems
    if problems:
        raise MapfileError(problems)
    return "".join(f"{host}=[ {', '.join(files)} ]\n" for host, files in files_of.items())


def _format_name(file: str) -> str:
    if "\n" in file or "\0" in file:
        raise MapfileError(f"file {quote_value(file)}: expected a name without newline and NUL for a mapfile")
    if _PLAIN.fullmatch(file):
        return file
    return quote(file)


class _Problem(Exception):
    """What is wrong at one position; caught where the next record can be found."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position


class _Reader:
    """Goes once through a text, from record to record."""

    def __init__(self, text: str, source: str) -> None:
        self.problems: list[str] = []
        self._text = text
        self._source = source
        self._at = 0

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield (host, file); `problems` is complete at the end."""
        self._skip(_SPACE)
        while self._at < len(self._text):
            try:
                yield from self._record()
            except _Problem as problem:
                self._note(problem)
                self._go_to_next_record(problem.position)
            if len(self.problems) >= _MAX_PROBLEMS:
                self.problems.append(f"{self._source}: too many problems; the rest of the file was not read")
                return
            self._skip(_SPACE)

    def _record(self) -> Iterator[tuple[str, str]]:
        start = self._at
        key = self._take(_KEY)
        if not key.strip() or not self._text.startswith("=", self._at):
            raise self._expected("host=[ file, ... ]", start if not key.strip() else self._at)
        self._at += 1
        self._skip(_BLANKS)
        if not self._text.startswith("[", self._at):
            raise self._expected(f"'[' after {quote_value(key.strip())} and '='")
        self._at += 1
        host = self._checked_host(key, start)
        for file in self._files():
            yield host, file
        self._end_of_record(host)

    def _checked_host(self, key: str, position: int) -> str:
        host = key.strip()
        if len(host) >= 2 and host[0] == host[-1] and host[0] in "'\"":
            host = host[1:-1]
        try:
            return check_host_name(host)
        except HostNameError:
            # Noted, not raised: the files of this record are read on.
            self._note(_Problem(position, f"expected a host name, got {quote_value(host)}"))
            return host

    def _files(self) -> Iterator[str]:
        """Yield the names up to the closing bracket and step over it."""
        self._skip(_SPACE)
        if self._text.startswith("]", self._at):
            self._at += 1
            return
        while True:
            file = self._name()
            yield file
            end = self._at
            self._skip(_SPACE)
            mark = self._text[self._at : self._at + 1]
            if mark not in (",", "]") or not mark:
                raise self._expected(f"',' or ']' after {quote_value(file)}", end)
            self._at += 1
            if mark == "]":
                return
            end = self._at
            self._skip(_SPACE)
            line_end = self._text.rfind("\n", end, self._at)
            if line_end >= 0 and _RECORD.match(self._text, line_end + 1):
                raise self._expected("a file name", end)

    def _name(self) -> str:
        pieces: list[str] = []
        is_quoted = False
        while piece := self._take(_QUOTED) or self._take(_UNQUOTED):
            is_quoted = piece[0] in "'\""
            pieces.append(piece[1:-1] if is_quoted else piece)
        quote = self._text[self._at : self._at + 1]
        if quote in ("'", '"'):
            raise _Problem(self._at, f"expected a closing {quote} on this line, got none")
        if not pieces:
            raise self._expected("a file name")
        if not is_quoted:
            pieces[-1] = pieces[-1].rstrip()
        return "".join(pieces)

    def _end_of_record(self, host: str) -> None:
        """Only blanks and a comment may follow on the line; a further record is read after its problem is noted."""
        self._skip(_BLANKS)
        start = self._at
        if start >= len(self._text) or self._text[start] in "#\n":
            return
        key = self._take(_KEY).strip()
        if key and self._text.startswith("=", self._at):
            hosts = f"{quote_value(host)} and {quote_value(key)}"
            self._note(_Problem(start, f"expected one host per line, got {hosts}; start a new line here"))
            self._at = start
            return
        raise self._expected("end of line after ']'", start)

    def _go_to_next_record(self, position: int) -> None:
        following = self._text.find("\n", position)
        found = _RECORD.search(self._text, following) if following >= 0 else None
        self._at = found.start() if found else len(self._text)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if not match:
            return ""
        self._at = match.end()
        return match[0]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._take(pattern)

    def _line_start(self, position: int) -> int:
        return self._text.rfind("\n", 0, position) + 1

    def _expected(self, what: str, position: int | None = None) -> _Problem:
        at = self._at if position is None else position
        rest = self._text[at : at + 2]
        if not rest:
            found = "end of file"
        elif rest[0] in "\n#" or rest == "\r\n":
            found = "end of line"
        else:
            found = quote_value(self._text[at])
        return _Problem(at, f"expected {what}, got {found}")

    def _note(self, problem: _Problem) -> None:
        line = self._text.count("\n", 0, problem.position) + 1
        column = problem.position - self._line_start(problem.position) + 1
        self.problems.append(f"{self._source}:{line}:{column}: {problem}")
