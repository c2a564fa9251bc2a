"""`pipeline parset`: look at parsets, expand them, change and compare them."""

import argparse
import json
from collections.abc import Callable
from typing import Any

from pipeline.cli.output import write_exactly, write_output
from pipeline.errors import ParsetError, UsageError
from pipeline.formats.interpolation import close_match
from pipeline.formats.parset import Parset
from pipeline.formats.values import quote_value
from pipeline.recipe.parsets import read_parset_input
from pipeline.run.textfiles import one_line, write_text

__all__ = ["add_parser"]

_MAX_CHARS = 64 << 20  # of all values written out by one command: as many as a single one may have

_GETTERS: dict[str, Callable[[Parset, str], Any]] = {
    "raw": Parset.raw,
    "string": Parset.get_string,
    "bool": Parset.get_bool,
    "int": Parset.get_int,
    "float": Parset.get_float,
    "time": Parset.get_time,
    "vector": lambda parset, key: parset.get_vector(key, expand=True),
    "record": lambda parset, key: _raw_values(parset.get_record(key)),
}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommands of `parset`."""
    parser = subparsers.add_parser("parset", help="look at parsets, expand, change and compare them")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    get = _command(commands, "get", _get, "print one value; lists one element per line")
    get.add_argument("key", metavar="KEY")
    get.add_argument("--type", choices=list(_GETTERS), default="string", help="what to read it as (default: string)")
    get.add_argument("--default", metavar="TEXT", help="the value if the key is not there")
    show = _command(commands, "show", _show, "print the keys and their values")
    show.add_argument("keys", metavar="PREFIX", nargs="*", help="only keys that begin with it")
    expand = _command(commands, "expand", _expand, "print values with repeats and ranges written out")
    expand.add_argument("keys", metavar="KEY", nargs="*", help="only these keys")
    change = _command(commands, "set", _set, "change or add keys; comments stay", has_json=False)
    change.add_argument("settings", metavar="KEY=VALUE", nargs="+")
    change.add_argument("-o", "--output", metavar="FILE", help="write here, not over FILE; - is standard output")
    diff = _command(commands, "diff", _diff, "compare keys and values; exit status 1 if they differ")
    diff.add_argument("other", metavar="OTHER", help="the second parset")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    help: str,
    *,
    has_json: bool = True,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help)
    parser.add_argument("file", metavar="FILE", help="a parset; - is standard input")
    parser.add_argument("--strict", action="store_true", help="what is odd in a file is an error, not a warning")
    if has_json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


def _get(options: argparse.Namespace) -> int:
    parset = _read(options, options.file)
    if options.default is not None and options.key not in parset:
        parset = Parset.from_dict({options.key: options.default}, source="--default")
    value = _GETTERS[options.type](parset, options.key)
    if options.json:
        return write_output(_json(value))
    if isinstance(value, dict):
        return _write_lines(value)
    lines = value if isinstance(value, list) else [str(value).lower() if isinstance(value, bool) else str(value)]
    return write_exactly(f"{_one_line(line)}\n" for line in lines)


def _show(options: argparse.Namespace) -> int:
    parset = _read(options, options.file)
    wanted = tuple(options.keys) or ("",)
    values = {key: parset.raw(key) for key in parset if key.startswith(wanted)}
    if not values and options.keys:
        raise _unknown(options.file, "keys that begin with", options.keys[0], parset)
    return write_output(_json(values)) if options.json else _write_lines(values)


def _expand(options: argparse.Namespace) -> int:
    parset = _read(options, options.file)
    values: dict[str, str] = {}
    problems: list[str] = []
    n_chars = 0
    for key in dict.fromkeys(options.keys or parset):
        try:
            values[key] = parset.expand(key)
        except ParsetError as error:
            problems += error.problems
            continue
        n_chars += len(values[key])
        if n_chars > _MAX_CHARS:
            problems.append(f"{parset.where(key)}: expected at most {_MAX_CHARS} characters in all values, got more")
            break
    if problems:
        raise ParsetError(problems[:100])
    return write_output(_json(values)) if options.json else _write_lines(values)


def _set(options: argparse.Namespace) -> int:
    output = options.file if options.output is None else options.output
    if not output:
        raise UsageError("pipeline parset set: expected a file to write, got an empty name")
    parset = _read(options, options.file)
    parset.adopt(Parset.from_argv(options.settings))
    if output == "-":
        return write_exactly([parset.format()])
    write_text(output, parset.format(), error=ParsetError, is_private=False)
    return 0


def _diff(options: argparse.Namespace) -> int:
    if options.file == options.other == "-":
        raise UsageError("pipeline parset diff: expected standard input once, got - twice")
    a, b = (_raw_values(_read(options, path)) for path in (options.file, options.other))
    rows = [
        {"key": key, "a": a.get(key), "b": b.get(key)} for key in dict.fromkeys((*a, *b)) if a.get(key) != b.get(key)
    ]
    if options.json:
        status = write_output(_json(rows))
    else:
        marks = (("-", "a"), ("+", "b"))
        status = write_exactly(
            f"{mark} {_one_line(row['key'] or '')}={_one_line(row[side] or '')}\n"
            for row in rows
            for mark, side in marks
            if row[side] is not None
        )
    return status or int(bool(rows))


def _read(options: argparse.Namespace, path: str) -> Parset:
    return read_parset_input(path, options.strict)


def _raw_values(parset: Parset) -> dict[str, str]:
    return {key: parset.raw(key) for key in parset}


def _write_lines(values: dict[str, str]) -> int:
    return write_exactly(f"{_one_line(key)}={_one_line(value)}\n" for key, value in values.items())


def _one_line(text: str) -> str:
    """Escape what would be another line or a terminal's business; bytes that are no UTF-8 go out as they came."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or 0xDC80 <= ord(c) <= 0xDCFF else one_line(c) for c in text)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2)


def _unknown(path: str, what: str, name: str, parset: Parset) -> UsageError:
    return ParsetError(f"{one_line(path)}: expected {what} {quote_value(name)}, got none{close_match(name, parset)}")
