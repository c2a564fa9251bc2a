"""What the subcommands of `pipeline mapfile` share: reading maps, and writing one where it was asked for."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from pipeline.cli.output import write_exactly
from pipeline.errors import MapfileError, UsageError
from pipeline.formats.mapfile import FORMS, Product, format_mapfile, parse_mapfile
from pipeline.model.products import DataProduct
from pipeline.run.textfiles import one_line, read_input, write_pieces

__all__ = [
    "Commands",
    "add_form",
    "add_output",
    "format_map",
    "naming",
    "read_maps",
    "read_single_maps",
    "write_map",
    "write_text_pieces",
]

Commands = argparse._SubParsersAction  # the type that add_subparsers() returns has no public name


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add where a map goes, and in which form."""
    add_form(parser, "default: parset where it holds the map exactly, else literal")
    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="instead of standard output")


def add_form(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the form of a map."""
    parser.add_argument("--form", choices=FORMS, help=default)


def read_maps(paths: Sequence[str]) -> list[Sequence[Product]]:
    """
    Read mapfiles; `-` is standard input.

    Raises:
        MapfileError: With all problems of all files.
        UsageError: If standard input is to be read twice.
    """
    if paths.count("-") > 1:
        raise UsageError("-: expected standard input once, got it twice")
    maps: list[Sequence[Product]] = []
    problems: list[str] = []
    for path in paths:
        try:
            text = read_input(path, error=MapfileError, what="mapfile")
            maps.append(parse_mapfile(text, name_of(path)))
        except MapfileError as error:
            problems += error.problems
    if problems:
        raise MapfileError(problems)
    return maps


def read_single_maps(paths: Sequence[str]) -> list[list[DataProduct]]:
    """Read mapfiles whose entries have one file each; raises MapfileError for others too."""
    singles: list[list[DataProduct]] = []
    for path, products in zip(paths, read_maps(paths), strict=True):
        single = [one for one in products if isinstance(one, DataProduct)]
        if len(single) < len(products):
            raise MapfileError(f"{name_of(path)}: expected one file in an entry, got several; see `mapfile expand`")
        singles.append(single)
    return singles


def name_of(path: str) -> str:
    """Return what messages call an input."""
    return "<stdin>" if path == "-" else one_line(path)


def write_map(products: Sequence[Product], options: argparse.Namespace) -> int:
    """Write a map where and in the form that the options say; returns the exit status."""
    return write_text_pieces([format_map(products, options.form, options.output)], options.output)


def format_map(products: Sequence[Product], form: str | None, output: str) -> str:
    """Return the text of a map; raises MapfileError that says for which output."""
    with naming("<stdout>" if output == "-" else name_of(output)):
        return format_mapfile(products, form)


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Say in front of each problem which maps it is about."""
    try:
        yield
    except MapfileError as error:
        raise MapfileError([f"{where}: {problem}" for problem in error.problems]) from None


def write_text_pieces(pieces: Iterable[str], path: str) -> int:
    """Write text to a file, at once or not at all, or for `-` to standard output as it comes."""
    if path == "-":
        return write_exactly(pieces)
    write_pieces(path, pieces, error=MapfileError, is_private=False)
    return 0
