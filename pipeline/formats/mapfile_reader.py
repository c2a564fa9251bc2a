"""What the readers of the forms of a mapfile share: a place in the text, and problems with theirs."""

import re

from pipeline.errors import HostNameError
from pipeline.formats.values import quote_value
from pipeline.model.hosts import check_host_name
from pipeline.model.products import DataProduct, MultiDataProduct

__all__ = ["MAX_ENTRIES", "MAX_NAME_CHARS", "MAX_PROBLEMS", "NO_NAME", "Problem", "Reader", "check_length"]

MAX_ENTRIES = 5_000_000  # in entries or in lists in entries
MAX_NAME_CHARS = 64 << 10  # 16 times what a path may have
MAX_PROBLEMS = 100
NO_NAME = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")  # other surrogates are bytes that are no UTF-8

_WORD = re.compile(r"\w{1,1000}")


class Problem(Exception):
    """What is wrong at one position; caught where the next entry can be found."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position


def check_length(text: str, position: int, max_chars: int = MAX_NAME_CHARS) -> None:
    """Raise Problem for a name that is too long: before work is put into it, and shown in part."""
    if len(text) > max_chars:
        raise Problem(position, f"expected a name of at most {max_chars} characters, got {len(text)}")


class Reader:
    """Goes once through a text; `problems` holds what was wrong, each `source:line:column: ...`."""

    def __init__(self, text: str, source: str) -> None:
        self.problems: list[str] = []
        self.products: list[DataProduct | MultiDataProduct] = []
        self._text = text
        self._source = source
        self._at = 0
        self._n_files = 0
        self._hosts: dict[str, str] = {}
        self._noted = (0, 1)  # position and line of the last problem: lines are counted from there

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if not match:
            return ""
        self._at = match.end()
        return match[0]

    def _mark(self) -> str:
        """Return the next character, "" at the end."""
        return self._text[self._at : self._at + 1]

    def _checked_host(self, host: str, position: int) -> str:
        """Return one and the same object for a name, however often it comes."""
        if host not in self._hosts:
            try:
                self._hosts[host] = check_host_name(host)
            except HostNameError:
                # Noted, not raised: what stands behind the name is read on.
                self._note(Problem(position, f"expected a host name, got {quote_value(host)}"))
                return host
        return self._hosts[host]

    def _count(self, n_files: int, position: int) -> None:
        """Call before `n_files` more are made."""
        self._n_files += n_files
        if self._n_files > MAX_ENTRIES:
            raise Problem(position, f"expected at most {MAX_ENTRIES} files, got more")

    def _expected(self, what: str, position: int | None = None) -> Problem:
        at = self._at if position is None else position
        return Problem(at, f"expected {what}, got {self._found(at)}")

    def _found(self, at: int) -> str:
        rest = self._text[at : at + 2]
        if not rest:
            return "end of file"
        if rest[0] in "\n#" or rest == "\r\n":
            return "end of line"
        word = _WORD.match(self._text, at)
        return quote_value(word[0] if word else rest[0])

    def _is_full(self) -> bool:
        """Whether the rest is not worth reading."""
        if self._n_files > MAX_ENTRIES:
            return True
        if len(self.problems) < MAX_PROBLEMS:
            return False
        self.problems.append(f"{self._source}: too many problems; the rest of the file was not read")
        return True

    def _note(self, problem: Problem) -> None:
        position, line = self._noted if problem.position >= self._noted[0] else (0, 1)
        line += self._text.count("\n", position, problem.position)
        self._noted = (problem.position, line)
        column = problem.position - self._text.rfind("\n", 0, problem.position)
        self.problems.append(f"{self._source}:{line}:{column}: {problem}")
