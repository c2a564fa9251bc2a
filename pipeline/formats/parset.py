"""Parsets: keys with values that are text until somebody asks for a type."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

from pipeline.errors import ParsetError
from pipeline.formats.interpolation import close_match
from pipeline.formats.parset_getters import Getters
from pipeline.formats.parset_lines import Entry, parse_lines, place_of
from pipeline.formats.parset_text import edited_text
from pipeline.formats.values import quote_value

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
        self._entries: dict[str, Entry] = {}
        self._edited: set[str] = set()
        self._removed: list[Entry] = []
        self._used: set[str] = set()
        self._folded: dict[str, str] = {}

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
        parsed = parse_lines(text, source, strict=strict)
        if parsed.problems:
            raise ParsetError(parsed.problems)
        parset = cls(source=source, ignore_case=ignore_case)
        parset.warnings = tuple(parsed.warnings)
        parset._text = text
        if not ignore_case:
            parset._entries = parsed.entries
            return parset
        for key, entry in parsed.entries.items():
            parset._discard(key)
            parset._put(key, entry)
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
                problems.append(f"expected key=value, got {quote_value(word)}")
            else:
                parset.replace(key.strip(), value.strip())
        if problems:
            raise ParsetError(problems[:100])
        return parset

    # --- what there is --------------------------------------------------------------------------------------------

    def keys(self) -> list[str]:
        """Return the keys, in the order in which the file has them first."""
        return list(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._name(key) in self._entries

    def __eq__(self, other: object) -> bool:
        """Whether keys and raw values are the same; their order, and where they come from, does not matter."""
        return isinstance(other, Parset) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"<Parset {self._source}, {len(self)} keys>"

    def where(self, key: str) -> str:
        """Return `source:line:column` of a key, or only the source for one that was not read from a text."""
        entry = self._entry(key)
        return self._source if entry.key_at < 0 else f"{self._source}:{place_of(self._text, entry.key_at)}"

    def raw(self, key: str) -> str:
        """Return the value as it stands: quotes in it, comments and ends of lines not."""
        entry = self._entry(key)
        self._used.add(self._name(key))
        return entry.value

    def unused(self) -> list[str]:
        """Return the keys whose values nobody has asked for."""
        return [key for key in self._entries if key not in self._used]

    # --- sets -----------------------------------------------------------------------------------------------------

    def add(self, key: str, value: str) -> None:
        """Add a key that is not there yet, with a raw value; raise ParsetError if it is."""
        if key in self:
            raise ParsetError(f"{self.where(key)}: {key}: expected a new key, got one that is there")
        self.replace(key, value)

    def replace(self, key: str, value: str) -> None:
        """Set the raw value of a key, there or not."""
        if not key or not isinstance(value, str):
            raise ParsetError(f"{self._source}: expected a key and text, got {quote_value(key)}, {quote_value(value)}")
        name = self._name(key)
        if name in self._entries:
            entry = self._entries[name]
            key = name
            value_before, entry.value = entry.value, value
            if value_before != value:
                self._edited.add(name)
        else:
            self._put(key, Entry(value))

    def remove(self, key: str) -> None:
        """Remove a key; one that is not there is an error."""
        self._entry(key)
        self._discard(key)

    def subset(self, prefix: str) -> "Parset":
        """Return the keys that begin with `prefix`, without it; a key that is the prefix is left out."""
        subset = Parset(source=self._source, ignore_case=self._ignore_case)
        subset._text = self._text
        for key in self._matching(prefix):
            if len(key) > len(prefix):
                entry = self._entries[key]
                subset._put(key[len(prefix) :], Entry(entry.value, entry.key_at))
        return subset

    def subtract(self, prefix: str) -> None:
        """Remove the keys that begin with `prefix`."""
        for key in self._matching(prefix):
            self._discard(key)

    def adopt(self, other: "Parset", prefix: str = "") -> None:
        """Take all keys of another one, with `prefix` in front; its values replace those that are there."""
        for key, entry in list(other._entries.items()):
            self.replace(prefix + key, entry.value)

    def full_module_name(self, module: str) -> str:
        """Return `A.B.Obs` for `Obs` if there is a key `A.B.Obs.x`, of many the first by name; empty if none."""
        fold = self._fold(module)
        for key in sorted(self._entries):
            at = f".{self._fold(key)}".find(f".{fold}.") if module else -1
            if at >= 0:
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
        return edited_text(self._text, self._entries, self._edited, self._removed)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _fold(self, key: str) -> str:
        return key.lower() if self._ignore_case else key

    def _name(self, key: str) -> str:
        return self._folded.get(key.lower(), key) if self._ignore_case else key

    def _put(self, key: str, entry: Entry) -> None:
        self._entries[key] = entry
        if self._ignore_case:
            self._folded[key.lower()] = key

    def _discard(self, key: str) -> None:
        entry = self._entries.pop(self._name(key), None)
        if entry and entry.key_at >= 0:
            self._removed.append(entry)
        self._edited.discard(self._name(key))
        self._folded.pop(key.lower(), None)

    def _values(self) -> dict[str, str]:
        return {self._fold(key): entry.value for key, entry in self._entries.items()}

    def _matching(self, prefix: str) -> list[str]:
        return [key for key in self._entries if self._fold(key).startswith(self._fold(prefix))]

    def _record(self, key: str, entries: Sequence[tuple[str, str]]) -> Self:
        record = type(self)(source=f"{self.where(key)}: {key}", ignore_case=self._ignore_case)
        for name, value in entries:
            record.add(name, value)
        return record

    def _entry(self, key: str) -> Entry:
        entry = self._entries.get(self._name(key))
        if entry is None:
            raise ParsetError(f"{self._source}: expected a key {quote_value(key)}{close_match(key, self._entries)}")
        return entry
