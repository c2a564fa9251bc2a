"""The getters of a parset: the text of a value turned into what is asked for."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from pipeline.errors import ParsetError
from pipeline.formats.parset_compact import compact_text
from pipeline.formats.parset_expand import expand_text
from pipeline.formats.parset_values import (
    split_record,
    split_vector,
    to_bool,
    to_float,
    to_int,
    to_string,
    to_time,
)
from pipeline.formats.values import show_key

__all__ = ["Getters"]

_T = TypeVar("_T")
REQUIRED: Any = object()


class Getters(ABC):
    """
    What `Parset` inherits.

    Every getter takes a default for a key that is not there; without one that is an error. With `expand=True` repeats
    (`3*x`) and ranges (`L001..003`) in square brackets are written out first. What goes wrong is a `ParsetError` that
    names the place and the key.
    """

    @abstractmethod
    def raw(self, key: str) -> str:
        """Return the value as it stands."""

    @abstractmethod
    def where(self, key: str) -> str:
        """Return where the key is."""

    @abstractmethod
    def __contains__(self, key: object) -> bool:
        """Whether the key is there."""

    @abstractmethod
    def _record(self, key: str, entries: Sequence[tuple[str, str]]) -> Self:
        """Make a parset of the entries of a record."""

    def get_string(self, key: str, default: str = REQUIRED) -> str:
        """Return the text without quotes."""
        return self._get(key, default, to_string)

    def get_bool(self, key: str, default: bool = REQUIRED) -> bool:
        """Return a boolean; its first character decides: t T 1 y Y, or f F 0 n N."""
        return self._get(key, default, to_bool)

    def get_int(self, key: str, default: int = REQUIRED) -> int:
        """Return an integer of 32 bits, decimal or 0x hexadecimal; nothing is 0."""
        return self._get(key, default, to_int)

    def get_float(self, key: str, default: float = REQUIRED) -> float:
        """Return a number; nothing is 0."""
        return self._get(key, default, to_float)

    def get_time(self, key: str, default: int = REQUIRED) -> int:
        """Return seconds: `15`, `15s`, `15m`, `15 hour`; any other unit counts as seconds."""
        return self._get(key, default, to_time)

    def get_record(self, key: str, default: Self = REQUIRED) -> Self:
        """Return the entries of `{k: v, k2: [..]}` as a parset."""
        return self._get(key, default, lambda text: self._record(key, split_record(text)))

    def expand(self, key: str) -> str:
        """Return the raw value with its repeats and ranges written out."""
        text: str = self._get(key, REQUIRED, expand_text)
        return text

    def compact(self, key: str) -> str:
        """Return the shortest form found of a vector: repeats and ranges that expand to the same elements."""
        text: str = self._get(key, REQUIRED, compact_text)
        return text

    def get_vector(self, key: str, default: Sequence[str] = REQUIRED, expand: bool = False) -> list[str]:
        """Return the elements of `[a, 'b,c', [d,e]]` without quotes; a scalar is a vector of one."""
        return self._vector(key, default, expand, to_string)

    get_string_vector = get_vector

    def get_bool_vector(self, key: str, default: Sequence[bool] = REQUIRED, expand: bool = False) -> list[bool]:
        """Return the elements as booleans."""
        return self._vector(key, default, expand, to_bool)

    def get_int_vector(self, key: str, default: Sequence[int] = REQUIRED, expand: bool = False) -> list[int]:
        """Return the elements as integers of 32 bits."""
        return self._vector(key, default, expand, to_int)

    def get_float_vector(self, key: str, default: Sequence[float] = REQUIRED, expand: bool = False) -> list[float]:
        """Return the elements as numbers."""
        return self._vector(key, default, expand, to_float)

    def get_time_vector(self, key: str, default: Sequence[int] = REQUIRED, expand: bool = False) -> list[int]:
        """Return the elements as seconds."""
        return self._vector(key, default, expand, to_time)

    def _get(self, key: str, default: _T, convert: Callable[[str], _T]) -> _T:
        if default is not REQUIRED and key not in self:
            return default
        try:
            return convert(self.raw(key))
        except ParsetError as error:
            if key not in self:
                raise
            raise ParsetError(
                [f"{self.where(key)}: {show_key(key)}: {problem}" for problem in error.problems]
            ) from None

    def _vector(self, key: str, default: Sequence[_T], expand: bool, convert: Callable[[str], _T]) -> list[_T]:
        def elements(text: str) -> list[_T]:
            return [convert(element) for element in split_vector(expand_text(text) if expand else text)]

        found = self._get(key, default, elements)
        # A default that is none, e.g. None, comes back as it is.
        return list(found) if isinstance(found, (list, tuple)) else found  # type: ignore[return-value]
