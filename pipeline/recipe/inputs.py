"""The values of a recipe's fields, where each came from, and the options made of fields."""

import argparse
import copy
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError
from pipeline.formats.interpolation import close_match
from pipeline.recipe.fields import Field

__all__ = ["Inputs", "Outputs", "Setting", "add_options", "collect_fields", "default_option", "given_options"]

_ARGS = "args"


@dataclass(frozen=True, slots=True)
class Setting:
    """
    A value, mostly text, and where it came from.

    Attributes:
        source: `file:line`, `command line`, `recipe code` or `default`.
    """

    value: Any
    source: str


def collect_fields(recipe: type, attribute: str) -> dict[str, Field]:
    """
    Collect the class dictionaries `inputs` or `outputs` along the class hierarchy; a subclass overrides.

    Raises:
        InputError: If an entry is no field, or is named `args`, which are the positionals.
    """
    fields: dict[str, Field] = {}
    for base in reversed(recipe.__mro__):
        for name, field in (vars(base).get(attribute) or {}).items():
            where = f"{base.__name__}: {attribute}[{name!r}]"
            if not isinstance(field, Field):
                raise InputError(f"{where}: expected a field, e.g. StringField(), got {type(field).__name__}")
            if name == _ARGS:
                raise InputError(f"{where}: expected another name; {_ARGS!r} are the positional arguments")
            fields[name] = field
    return fields


def default_option(name: str) -> str:
    """Return `--max-per-node` for `max_per_node`."""
    return "--" + name.replace("_", "-")


def add_options(parser: argparse.ArgumentParser, fields: Mapping[str, Field]) -> None:
    """
    Give `parser` the options of each field: its own, `--the-name` and `--the_name`; `given_options` reads them.

    Raises:
        InputError: If two fields have an option in common.
    """
    for name, field in fields.items():
        strings = dict.fromkeys((*field.optionstrings, default_option(name), f"--{name}"))
        try:
            parser.add_argument(
                *strings,
                dest=name,
                default=argparse.SUPPRESS,
                help=_help(field),
                **field.option_form(name),
            )
        except (argparse.ArgumentError, ValueError) as error:
            raise InputError(f"{parser.prog}: input {name!r}: {error}; give the field other options") from None


def given_options(options: argparse.Namespace, fields: Iterable[str]) -> dict[str, Setting]:
    """Return what the command line gave for `fields`."""
    given = vars(options)
    return {name: Setting(given[name], "command line") for name in fields if name in given}


class _Values(MutableMapping[str, Any]):
    """Values by field name, converted and checked when they are set."""

    _what = "input"

    def __init__(self, recipe: str, fields: Mapping[str, Field]) -> None:
        """Name the recipe, for messages, and its fields; nothing is set yet."""
        self.recipe = recipe
        self.fields = dict(fields)
        self._settings: dict[str, Setting] = {}

    def set(self, name: str, value: Any, source: str = "recipe code") -> None:
        """
        Set one value; `-` and `_` in the name are the same.

        Raises:
            InputError: One line with recipe, option, value and source. Nothing is changed then.
        """
        known = self._known(name, source)
        self._settings[known] = Setting(self._converted(known, value, source), source)

    def assign(self, settings: Mapping[str, Setting]) -> None:
        """
        Set several values.

        Raises:
            InputError: With a line for each that cannot be set; the others are set.
        """
        problems: list[str] = []
        for name, setting in settings.items():
            try:
                self.set(name, setting.value, setting.source)
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)

    def source(self, name: str) -> str:
        """Return where a value came from; `default` if it was not set."""
        return self._settings[name].source if name in self._settings else "default"

    def missing(self) -> list[str]:
        """Names of required fields that are not set, in the order of the fields."""
        return [
            name
            for name, field in self.fields.items()
            if name not in self._settings and not field.optional and not field.has_default
        ]

    def check(self) -> None:
        """
        Check that all that is required is set and the defaults in use are valid.

        Raises:
            InputError: With a line for each problem.
        """
        problems = [self._not_given(name) for name in self.missing()]
        for name in self.fields:
            try:
                if name in self:
                    self[name]
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)

    def __getitem__(self, name: str) -> Any:
        """Return a value, else the default, else None for an optional field; InputError if nothing was given."""
        if name in self._settings:
            return self._settings[name].value
        field = self.fields[self._known(name, "recipe code")]
        if field.has_default:
            # Kept: a list that the recipe appends to must be the same the next time. A copy: never the class's own.
            value = self._converted(name, copy.deepcopy(field.default), "default")
            self._settings[name] = Setting(value, "default")
            return self._settings[name].value
        if field.optional:
            return None
        raise InputError(self._not_given(name))

    def __setitem__(self, name: str, value: Any) -> None:
        """Set a value from the recipe's code."""
        self.set(name, value)

    def __delitem__(self, name: str) -> None:
        """Forget a value; the default counts again."""
        del self._settings[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is a value: set, or a default."""
        return name in self._settings or (name in self.fields and self.fields[str(name)].has_default)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names that have a value, in the order of the fields."""
        return (name for name in self.fields if name in self)

    def __len__(self) -> int:
        """Count the names that have a value."""
        return sum(1 for _ in self)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or `default` if there is none."""
        return self[name] if name in self else default  # noqa: SIM401 (it is what defines get)

    def __repr__(self) -> str:
        """Show what is set."""
        values = {name: setting.value for name, setting in self._settings.items()}
        return f"{type(self).__name__}({self.recipe!r}, {values!r})"

    def _known(self, name: str, source: str) -> str:
        for candidate in (name, name.replace("-", "_")):
            if candidate in self.fields:
                return candidate
        proposal = close_match(name, self.fields) or f"; known: {', '.join(sorted(self.fields)) or 'none'}"
        raise InputError(f"{self.recipe}: {name!a} ({source}): expected an {self._what} of this recipe{proposal}")

    def _converted(self, name: str, value: Any, source: str) -> Any:
        try:
            return self.fields[name].convert(value)
        except InputError as error:
            shown = self._shown(name)
            raise InputError([f"{self.recipe}: {shown} ({source}): {problem}" for problem in error.problems]) from None

    def _shown(self, name: str) -> str:
        return default_option(name)

    def _not_given(self, name: str) -> str:
        expected = self.fields[name].expected
        return f"{self.recipe}: {self._shown(name)}: expected {expected}, got nothing; give the option or set {name!r}"


class Inputs(_Values):
    """The inputs of a recipe; `inputs['args']` are the positional arguments, a list of text."""

    def __init__(self, recipe: str, fields: Mapping[str, Field], args: Iterable[str] = ()) -> None:
        """Start with the positionals only."""
        super().__init__(recipe, fields)
        self.args = list(args)

    def __getitem__(self, name: str) -> Any:
        """Return a value as described above, or the positionals."""
        return self.args if name == _ARGS else super().__getitem__(name)

    def set(self, name: str, value: Any, source: str = "recipe code") -> None:
        """Set a value as described above, or the positionals."""
        if name != _ARGS:
            super().set(name, value, source)
        elif isinstance(value, (list, tuple)):
            self.args = list(value)
        else:
            raise InputError(f"{self.recipe}: args ({source}): expected a list, got {value!r}")

    def __contains__(self, name: object) -> bool:
        """Whether there is a value."""
        return name == _ARGS or super().__contains__(name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names that have a value, `args` last."""
        yield from super().__iter__()
        yield _ARGS


class Outputs(_Values):
    """The outputs of a recipe."""

    _what = "output"

    def complete(self) -> bool:
        """All that is required is set."""
        return not self.missing()

    def _shown(self, name: str) -> str:
        return f"outputs[{name!r}]"

    def _not_given(self, name: str) -> str:
        return f"{self.recipe}: outputs[{name!r}]: expected {self.fields[name].expected}, got nothing; set it in go()"


def _help(field: Field) -> str:
    text = field.help or field.expected
    if field.has_default and field.default is not None:
        text += f" (default: {field.default})"
    return text.replace("%", "%%")
