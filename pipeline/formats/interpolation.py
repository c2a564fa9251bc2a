"""`%(name)s` in values, bounded in size and depth."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from pipeline.errors import ConfigError

__all__ = ["MAX_TOTAL_CHARS", "Interpolation", "close_match", "names_in"]

MAX_VALUE_CHARS = 64 << 10
MAX_TOTAL_CHARS = 8 << 20
_MAX_DEPTH = 50
_MAX_NAMES = 500  # difflib takes 0.3 s for a proposal out of 50,000
_TOKEN = re.compile(r"%%|%\(([^()\n%]*+)\)s|%\(")


class Interpolation:
    """The values that `%(name)s` stands for in one section."""

    def __init__(
        self, find: Callable[[str], str | None], literals: Mapping[str, str], names: Callable[[], Iterable[str]]
    ) -> None:
        """
        Take where names are looked up.

        Args:
            find: Returns the text of a name, which may refer to others; None if there is no such name.
            literals: Values taken as they are, before `find` is asked.
            names: Returns all that may be written, for proposals in messages.
        """
        self._find = find
        self._literals = literals
        self._names = names
        self._expanded: dict[str, str | ConfigError] = {}  # an error too is found once only
        self._total_chars = 0

    def expand(self, text: str, name: str = "") -> str:
        """
        Replace each `%(name)s` by its value and `%%` by a percent; any other `%` stays.

        Args:
            text: At most 64 KiB after expansion, and all texts of a section 8 MiB.
            name: The key it belongs to, to name circles.

        Raises:
            ConfigError: `expected ..., got ...` for an unknown name, a circle or too much text.
        """
        return self._expand(text, (name,) if name else ())

    def _expand(self, text: str, chain: tuple[str, ...]) -> str:
        if "%" not in text:
            return self._counted(text)
        parts: list[str] = []
        n_chars = end = 0
        for match in _TOKEN.finditer(text):
            for part in (text[end : match.start()], self._replacement(match, chain)):
                parts.append(part)
                n_chars += len(part)
            end = match.end()
            if n_chars > MAX_VALUE_CHARS:
                raise ConfigError(f"expected at most {MAX_VALUE_CHARS} characters after interpolation, got more")
        return self._counted("".join([*parts, text[end:]]))

    def _counted(self, text: str) -> str:
        self._total_chars += len(text)
        if len(text) > MAX_VALUE_CHARS or self._total_chars > MAX_TOTAL_CHARS:
            limit = MAX_VALUE_CHARS if len(text) > MAX_VALUE_CHARS else MAX_TOTAL_CHARS
            raise ConfigError(f"expected at most {limit} characters after interpolation, got more")
        return text

    def _replacement(self, match: re.Match[str], chain: tuple[str, ...]) -> str:
        name = match[1]
        if match[0] == "%%":
            return "%"
        if name is None:
            raise ConfigError(f"expected %(name)s, got {match.string[match.start() : match.start() + 20]!r}")
        if name in self._literals:
            return self._literals[name]
        if name not in self._expanded:
            try:
                self._expanded[name] = self._value_of(name, chain)
            except ConfigError as error:
                self._expanded[name] = error
        value = self._expanded[name]
        if isinstance(value, ConfigError):
            raise ConfigError(value.problems)
        return value

    def _value_of(self, name: str, chain: tuple[str, ...]) -> str:
        if name in chain:
            circle = " -> ".join([*chain[chain.index(name) :], name])
            raise ConfigError(f"expected values that do not refer to each other in a circle, got {circle}")
        if len(chain) >= _MAX_DEPTH:
            raise ConfigError(f"expected references at most {_MAX_DEPTH} deep, got more at %({name[:60]})s")
        text = self._find(name)
        if text is None:
            proposal = close_match(name, self._names())
            raise ConfigError(f"expected the name of a key of this section or [DEFAULT], got %({name[:60]})s{proposal}")
        return self._expand(text, (*chain, name))


def names_in(text: str) -> set[str]:
    """Return the names that `text` refers to."""
    return {match[1] for match in _TOKEN.finditer(text) if match[1] is not None}


def close_match(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` if one of `names` is like `name`, else nothing."""
    found = difflib.get_close_matches(name[:100], [*islice(names, _MAX_NAMES)], n=1, cutoff=0.7)
    return f"; did you mean {found[0]!r}?" if found else ""
