"""What a recipe takes and gives: typed fields and the values they were given."""

import os
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import InputError, ParsetError
from pipeline.formats.parset_values import parse_dict, parse_list
from pipeline.formats.values import parse_bool, parse_float, parse_int, quote_value

__all__ = [
    "REQUIRED",
    "BoolField",
    "DictField",
    "DirectoryField",
    "ExecField",
    "Field",
    "FileField",
    "FileList",
    "FloatField",
    "IntField",
    "ListField",
    "StoreTrueField",
    "StringField",
]


class _Required:
    """No default: the field must be given."""

    def __repr__(self) -> str:
        return "<required>"


REQUIRED: Any = _Required()


class Field:
    """
    One input or output of a recipe; the value may be anything.

    A class of your own overrides `expected` and `_convert`.
    """

    expected = "a value"

    def __init__(
        self, *optionstrings: str, help: str | None = None, default: Any = REQUIRED, optional: bool = False
    ) -> None:
        """
        Describe the field.

        Args:
            optionstrings: Options of the command line, e.g. `-m`, `--mapfile`; `--the-name` is always one.
            help: For `--help`.
            default: Used if nothing is given; checked like a value when it is used.
            optional: It need not be given; its value is then None.
        """
        self.optionstrings = optionstrings
        self.help = help
        self.default = default
        self.optional = optional

    @property
    def has_default(self) -> bool:
        """A value is there if none is given."""
        return self.default is not REQUIRED

    def convert(self, value: Any) -> Any:
        """
        Return `value`, text or a Python value, as this field's type; changes nothing outside.

        Raises:
            InputError: `expected ..., got ...`.
        """
        if value is None and (self.optional or self.default is None):
            return None
        try:
            return self._convert(value)
        except ParsetError as error:
            raise InputError(str(error)) from None
        except (TypeError, ValueError):
            raise InputError(f"expected {self.expected}, got {quote_value(value)}") from None

    def option_form(self, name: str) -> dict[str, Any]:
        """How argparse is to read its option: one value that follows."""
        return {"metavar": name.upper()}

    def _convert(self, value: Any) -> Any:
        """Return the value; raise ValueError or TypeError if it is none of this field's."""
        return value


class StringField(Field):
    """Text."""

    expected = "text"

    def _convert(self, value: Any) -> str:
        return _text(value)


class IntField(Field):
    """An integer; from text decimal or 0x hexadecimal."""

    expected = "an integer"

    def _convert(self, value: Any) -> int:
        if isinstance(value, str):
            return parse_int(value)
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError
        return int(value)


class FloatField(Field):
    """A number."""

    expected = "a number"

    def _convert(self, value: Any) -> float:
        if isinstance(value, str):
            return parse_float(value)
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise TypeError
        return float(value)


class BoolField(Field):
    """True or false; from text true, yes, 1, false, no, 0 in any case."""

    expected = "true, yes, 1, false, no or 0"

    def _convert(self, value: Any) -> bool:
        if isinstance(value, str):
            return parse_bool(value)
        if value not in (True, False):
            raise ValueError
        return bool(value)


class StoreTrueField(BoolField):
    """False unless its option, which takes no value, is given."""

    def option_form(self, name: str) -> dict[str, Any]:
        """No value follows."""
        return {"action": "store_const", "const": "true"}


class FileField(Field):
    """The absolute path of what is there: a file, or a directory such as a measurement set."""

    expected = "an existing file"

    def _convert(self, value: Any) -> str:
        path = _absolute(value)
        if not os.path.exists(path):
            raise ValueError
        return path


class DirectoryField(Field):
    """The absolute path of a directory, which need not be there yet; checking does not create it."""

    expected = "a directory"

    def _convert(self, value: Any) -> str:
        path = _absolute(value)
        if os.path.exists(path) and not os.path.isdir(path):
            raise ValueError
        return path


class ExecField(Field):
    """The absolute path of a program: given as a path, or as a name that is looked up on PATH."""

    expected = "an executable file or a program on PATH"

    def _convert(self, value: Any) -> str:
        name = os.path.expanduser(_text(value))
        found = shutil.which(name) if name else None
        if found is None:
            raise ValueError
        return os.path.abspath(found)


class ListField(Field):
    """A list; from text `[a, 'b,c', L001..003]`, `a, b` or `a`, elements of text."""

    expected = "a list, e.g. [a, b]"

    def _convert(self, value: Any) -> list[Any]:
        if isinstance(value, str):
            return list(parse_list(value))
        if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
            raise TypeError
        return list(value)


class FileList(ListField):
    """A list of what `FileField` takes."""

    expected = "a list of existing files, e.g. [/data/a, /data/b]"

    def _convert(self, value: Any) -> list[Any]:
        file = FileField()
        return [file.convert(element) for element in super()._convert(value)]


class DictField(Field):
    """A dictionary; from text `{key: value}`, both of text."""

    expected = "a dictionary, e.g. {key: value}"

    def _convert(self, value: Any) -> dict[Any, Any]:
        if isinstance(value, str):
            return dict(parse_dict(value))
        if not isinstance(value, Mapping):
            raise TypeError
        return dict(value)


def _text(value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    return value


def _absolute(value: Any) -> str:
    """Absolute, since a job on a host starts elsewhere."""
    path = _text(value)
    if not path:
        raise ValueError
    return os.path.abspath(os.path.expanduser(path))
