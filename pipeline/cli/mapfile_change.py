"""The subcommands of `pipeline mapfile` that make maps of maps."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pipeline.cli.mapfile_files import (
    Commands,
    add_form,
    add_output,
    name_of,
    read_maps,
    read_single_maps,
    write_map,
)
from pipeline.errors import MapfileError, UsageError
from pipeline.maps.combine import merge, split, zip_maps
from pipeline.maps.groups import expand, group, pair
from pipeline.maps.names import add_suffix, with_folder, with_suffix
from pipeline.maps.pick import matcher, prune, select, skip
from pipeline.model.hosts import expand_hosts
from pipeline.model.products import DataProduct, MultiDataProduct

__all__ = ["add_commands"]


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the subcommands."""
    _add_convert(commands)
    _add_several(commands)
    _add_split(commands)
    _add_groups(commands)
    _add_picking(commands)
    _add_rename(commands)


def _add_convert(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("convert", help="write a map in another form")
    parser.add_argument("map", metavar="MAP")
    add_output(parser)
    parser.set_defaults(run=lambda options: write_map(read_maps([options.map])[0], options))


def _add_several(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("merge", help="put the entries of maps behind each other")
    parser.add_argument("maps", metavar="MAP", nargs="+")
    add_output(parser)
    parser.set_defaults(run=_merge)
    parser = commands.add_parser("zip", help="put the files of two maps that match by index into one entry")
    parser.add_argument("maps", metavar="MAP", nargs=2)
    add_output(parser)
    parser.set_defaults(run=_zip)


def _merge(options: argparse.Namespace) -> int:
    maps = read_maps(options.maps)
    kinds = {type(one[0]) for one in maps if one}
    if len(kinds) > 1:
        raise MapfileError("expected maps of one kind, got some with one file in an entry and some with several")
    return write_map(merge(*maps), options)


def _zip(options: argparse.Namespace) -> int:
    first, second = read_single_maps(options.maps)
    with _naming(options.maps):
        pairs = zip_maps(first, second)
    return write_map(pair(pairs), options)


@contextmanager
def _naming(paths: Sequence[str]) -> Iterator[None]:
    """Say in front of an error which maps it is about."""
    try:
        yield
    except MapfileError as error:
        raise MapfileError(f"{' and '.join(map(name_of, paths))}: {error}") from None


def _add_split(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("split", help="cut a map into maps of about the same length")
    parser.add_argument("map", metavar="MAP")
    parser.add_argument("n", metavar="N", type=int, help="number of parts")
    parser.add_argument("--part", metavar="K", type=int, help="write only part K, from 1, to standard output")
    add_form(parser, "default: parset where it holds the part exactly, else literal")
    parser.add_argument("-o", "--output", metavar="NAME", help="a file for each part: {} in it stands for the number")
    parser.set_defaults(run=_split)


def _split(options: argparse.Namespace) -> int:
    parts = split(read_maps([options.map])[0], options.n)
    template = options.output
    if options.part is not None:
        if not 1 <= options.part <= options.n:
            raise UsageError(f"--part: expected a number from 1 to {options.n}, got {options.part}")
        options.output = (template or "-").replace("{}", str(options.part))
        return write_map(parts[options.part - 1], options)
    if template is None or "{}" not in template:
        raise UsageError("pipeline mapfile split: name the parts with -o, e.g. -o 'part{}.mapfile', or one with --part")
    for number, part in enumerate(parts, 1):
        options.output = template.replace("{}", str(number))
        write_map(part, options)
    return 0


def _add_groups(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("group", help="put files of a host into one entry")
    parser.add_argument("map", metavar="MAP")
    parser.add_argument("n", metavar="N", type=int, nargs="?", help="files in an entry; default: all of the host")
    add_output(parser)
    parser.set_defaults(run=lambda options: write_map(group(read_single_maps([options.map])[0], options.n), options))
    parser = commands.add_parser("expand", help="make an entry of each file, the inverse of group")
    parser.add_argument("map", metavar="MAP")
    add_output(parser)
    parser.set_defaults(run=_expand)


def _expand(options: argparse.Namespace) -> int:
    products = read_maps([options.map])[0]
    expanded = [one for one in products if isinstance(one, DataProduct)]
    expanded += expand(one for one in products if isinstance(one, MultiDataProduct))
    return write_map(expanded, options)


def _add_picking(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("select", help="only the entries of some hosts or files")
    _add_matching(parser)
    parser.add_argument("--skipped-in", metavar="MAP", help="entries that are skipped in a map that matches by index")
    parser.set_defaults(run=_select)
    parser = commands.add_parser("skip", help="mark entries as to be skipped; they keep their place")
    _add_matching(parser)
    parser.add_argument("--undo", action="store_true", help="take the mark away")
    parser.set_defaults(run=_skip)
    parser = commands.add_parser("prune", help="leave out entries that are skipped")
    parser.add_argument("map", metavar="MAP")
    add_output(parser)
    parser.set_defaults(run=lambda options: write_map(prune(read_maps([options.map])[0]), options))


def _add_matching(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("map", metavar="MAP")
    parser.add_argument("--hosts", metavar="HOSTS", help="entries on these, also folded: lce[001-072]")
    parser.add_argument("--files", metavar="GLOB", help="entries whose file name matches; with a / the whole path")
    parser.add_argument("--not", dest="negate", action="store_true", help="all others")
    add_output(parser)


def _select(options: argparse.Namespace) -> int:
    picks = _picks(options)
    if options.skipped_in is None:
        return write_map(select(read_maps([options.map])[0], picks), options)
    products, others = read_maps([options.map, options.skipped_in])
    with _naming([options.map, options.skipped_in]):
        pairs = zip_maps(products, others)
    return write_map([one for one, other in pairs if other.skip and picks(one)], options)


def _skip(options: argparse.Namespace) -> int:
    return write_map(skip(read_maps([options.map])[0], _picks(options), to=not options.undo), options)


def _picks(options: argparse.Namespace) -> Callable[[DataProduct | MultiDataProduct], bool]:
    hosts = None if options.hosts is None else set(expand_hosts(options.hosts))
    return matcher(hosts, options.files, negate=options.negate)


def _add_rename(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("rename", help="give the files other names; touches no file")
    parser.add_argument("map", metavar="MAP")
    parser.add_argument("--folder", metavar="DIR", help="the folder they are in")
    endings = parser.add_mutually_exclusive_group()
    endings.add_argument("--suffix", metavar="SUFFIX", help="in place of the ending: .h5")
    endings.add_argument("--add-suffix", metavar="SUFFIX", help="behind the name: .flags")
    add_output(parser)
    parser.set_defaults(run=_rename)


def _rename(options: argparse.Namespace) -> int:
    products = read_maps([options.map])[0]
    with _naming([options.map]):
        if options.folder is not None:
            products = with_folder(products, options.folder)
        if options.suffix is not None:
            products = with_suffix(products, options.suffix)
        if options.add_suffix is not None:
            products = add_suffix(products, options.add_suffix)
    return write_map(products, options)
