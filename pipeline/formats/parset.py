"""Parsets: keys with values that are text until somebody asks for a type."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

from pipeline.errors import ParsetError
from pipeline.formats.interpolation import close_match
from pipeline.formats.parset_getters import Getters
from pipeline.formats.parset_lines import Entry, parse_lines
from pipeline.formats.parset_text import edited_text
from pipeline.formats.values import quote_value, show_key

__all__ = ["Parset"]


class Parset(Getters):
    """
    Keys and values in the order of the file; a getter turns a value into what is asked for.

    Attributes:
        warnings: `source:line:column: ...` for repeated keys and other quirks that were kept.
    """

    def __init__(self, *, source: str = "<parset>", ignore_case: bool = False) -> None:
        """Make an empty one; with `ignore_case`, `Key` and `key` are the same key."""
        self.warnings: tuple[str, ...] = ()
        self._source = source
        self._ignore_case = ignore_case
        self._text = ""
        self._entries: dict[str, Entry] = {}  # by folded key
        self._used: set[str] = set()  # folded, with the prefix; a subset shares them with its origin
        self._prefix = ""

    @classmethod
    def parse(cls, text: str, *, strict: bool = False, source: str = "<text>", ignore_case: bool = False) -> "Parset":
        """
        Read the text of a file.

        Args:
            text: All of it; lines end with a line feed, a carriage return before it does not matter.
            strict: Quirks are errors: two `=` on a line, lines before the first key. Otherwise they are warnings.
            source: What messages name, e.g. the path.

        Raises:
            ParsetError: With all problems, at most 100, each `source:line:column: expected ..., got ...`.
        """
        parset = cls(source=source, ignore_case=ignore_case)
        parsed = parse_lines(text, source, strict=strict, fold=parset._fold)
        if parsed.problems:
            raise ParsetError(parsed.problems)
        parset.warnings = tuple(parsed.warnings)
        parset._text = text
        parset._entries = parsed.entries
        return parset

    @classmethod
    def from_dict(cls, values: Mapping[str, str], *, source: str = "<dict>", ignore_case: bool = False) -> "Parset":
        """Take raw values as they stand."""
        parset = cls(source=source, ignore_case=ignore_case)
        for key, value in values.items():
            parset.add(key, value)
        return parset

    @classmethod
    def from_argv(cls, words: Iterable[str], *, source: str = "<arguments>") -> "Parset":
        """Take `key=value` words; of a repeated key the last counts. Nothing is a comment or goes on."""
        parset = cls(source=source)
        problems: list[str] = []
        for word in words:
            key, equals, value = word.partition("=")
            if not equals or not key.strip():
                problems.append(f"{source}: expected key=value, got {quote_value(word)}")
            else:
                parset.replace(key.strip(), value.strip())
        if problems:
            raise ParsetError(problems[:100])
        return parset

    # --- what there is --------------------------------------------------------------------------------------------

    def keys(self) -> list[str]:
        """Return the keys, in the order in which the file has them first."""
        return [entry.key for entry in self._entries.values()]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._fold(key) in self._entries

    def __eq__(self, other: object) -> bool:
        """Whether keys and raw values are the same; their order, and where they come from, does not matter."""
        return isinstance(other, Parset) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"<Parset {self._source}, {len(self)} keys>"

    def where(self, key: str) -> str:
        """Return `source:line:column` of a key, or only the source for one that was not read from a text."""
        entry = self._entry(key)
        return f"{self._source}:{entry.line}:{entry.column}" if entry.line else self._source

    def raw(self, key: str) -> str:
        """Return the value as it stands: quotes in it, comments and ends of lines not."""
        entry = self._entry(key)
        self._used.add(self._prefix + self._fold(key))
        return entry.value

    def unused(self) -> list[str]:
        """Return the keys whose values nobody has asked for, here or in a subset."""
        return [entry.key for name, entry in self._entries.items() if self._prefix + name not in self._used]

    # --- sets -----------------------------------------------------------------------------------------------------

    def add(self, key: str, value: str) -> None:
        """Add a key that is not there yet, with a raw value; raise ParsetError if it is."""
        if key in self:
            raise ParsetError(f"{self.where(key)}: {show_key(key)}: expected a new key, got one that is there")
        self.replace(key, value)

    def replace(self, key: str, value: str) -> None:
        """Set the raw value of a key, there or not."""
        if not key or not isinstance(key, str) or not isinstance(value, str):
            raise ParsetError(f"{self._source}: expected a key and text, got {quote_value(key)}, {quote_value(value)}")
        name = self._fold(key)
        old = self._entries.get(name)
        self._entries[name] = Entry(old.key, value, old.line, old.column) if old else Entry(key, value)

    def remove(self, key: str) -> None:
        """Remove a key; one that is not there is an error."""
        self._entry(key)
        del self._entries[self._fold(key)]

    def subset(self, prefix: str) -> "Parset":
        """Return the keys that begin with `prefix`, without it; a key that is the prefix is left out."""
        subset = Parset(source=self._source, ignore_case=self._ignore_case)
        subset._prefix, subset._used = self._prefix + self._fold(prefix), self._used
        for name in self._matching(prefix):
            entry = self._entries[name]
            key = entry.key[len(prefix) :]
            if key:
                subset._entries[self._fold(key)] = Entry(key, entry.value, entry.line, entry.column)
        return subset

    def subtract(self, prefix: str) -> None:
        """Remove the keys that begin with `prefix`."""
        for name in self._matching(prefix):
            del self._entries[name]

    def adopt(self, other: "Parset", prefix: str = "") -> None:
        """Take all keys of another one, with `prefix` in front; its values replace those that are there."""
        for entry in list(other._entries.values()):
            self.replace(prefix + entry.key, entry.value)

    def full_module_name(self, module: str) -> str:
        """Return `A.B.Obs` for `Obs` if there is a key `A.B.Obs.x`, of many the first by name; empty if none."""
        for name in sorted(self._entries) if module else ():
            key = self._entries[name].key
            at = key.find(f".{module}.") + 1  # before its start, as in the original: of `M.M.a` it is the second M
            if at or key.startswith(f"{module}."):
                return key[: at + len(module)]
        return ""

    def locate_module(self, module: str) -> str:
        """Return what is in front of a module's name: `A.B.` for `Obs` if there is a key `A.B.Obs.x`."""
        name = self.full_module_name(module)
        return name[: len(name) - len(module)]

    def format(self) -> str:
        """
        Return the text of a file: as it was read where nothing was changed, else `key=value`.

        Raises:
            ParsetError: For a value that cannot stand on a line, such as one with a line feed.
        """
        return edited_text(self._text, self._entries, self._fold)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _fold(self, key: str) -> str:
        return key.lower() if self._ignore_case else key

    def _values(self) -> dict[str, str]:
        return {name: entry.value for name, entry in self._entries.items()}

    def _matching(self, prefix: str) -> list[str]:
        return [name for name in self._entries if name.startswith(self._fold(prefix))]

    def _record(self, key: str, entries: Sequence[tuple[str, str]]) -> Self:
        record = type(self)(source=f"{self.where(key)}: {show_key(key)}", ignore_case=self._ignore_case)
        for name, value in entries:
            if name in record:
                raise ParsetError(f"expected each key once in {{...}}, got {quote_value(name)} twice")
            record.add(name, value)
        return record

    def _entry(self, key: str) -> Entry:
        entry = self._entries.get(self._fold(key))
        if entry is None:
            raise ParsetError(f"{self._source}: expected a key {quote_value(key)}{close_match(key, self)}")
        return entry
