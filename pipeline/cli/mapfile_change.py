"""The subcommands of `pipeline mapfile` that make maps of maps."""

import argparse
import os
from collections.abc import Callable

from pipeline.cli.mapfile_files import (
    Commands,
    add_form,
    add_output,
    format_map,
    name_of,
    naming,
    read_maps,
    read_single_maps,
    write_map,
    write_text_pieces,
)
from pipeline.errors import MapfileError, UsageError
from pipeline.maps.combine import merge, part, split, zip_maps
from pipeline.maps.groups import expand, group, pair
from pipeline.maps.names import add_suffix, make_absolute, with_folder, with_suffix
from pipeline.maps.pick import matcher, prune, skip
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
    path_of = {type(one[0]): path for one, path in zip(maps[::-1], options.maps[::-1], strict=True) if one}
    if len(path_of) > 1:
        one, several = name_of(path_of[DataProduct]), name_of(path_of[MultiDataProduct])
        raise MapfileError(
            f"expected maps of one kind, got one file in an entry of {one} and several in those of {several}"
        )
    return write_map(merge(*maps), options)


def _zip(options: argparse.Namespace) -> int:
    first, second = read_single_maps(options.maps)
    with naming(" and ".join(map(name_of, options.maps))):
        pairs = zip_maps(first, second)
    return write_map(pair(pairs), options)


def _add_split(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("split", help="cut a map into maps of about the same length")
    parser.add_argument("map", metavar="MAP")
    parser.add_argument("n", metavar="N", type=int, help="number of parts")
    parser.add_argument("--part", metavar="K", type=int, help="write only part K, from 1, to standard output")
    add_form(parser, "default: parset where it holds the part exactly, else literal")
    parser.add_argument("-o", "--output", metavar="NAME", help="a file for each part: {} in it stands for the number")
    parser.set_defaults(run=_split)


def _split(options: argparse.Namespace) -> int:
    products = read_maps([options.map])[0]
    template = options.output
    if options.part is not None:
        if not 1 <= options.part <= options.n:
            raise UsageError(f"--part: expected a number from 1 to {options.n}, got {options.part}")
        options.output = (template or "-").replace("{}", str(options.part))
        return write_map(part(products, options.part, options.n), options)
    if options.n > max(1, len(products)):
        raise UsageError(f"N: expected at most as many parts as entries, {max(1, len(products))}, got {options.n}")
    parts = split(products, options.n)
    if template is None or "{}" not in template:
        raise UsageError("pipeline mapfile split: name the parts with -o, e.g. -o 'part{}.mapfile', or one with --part")
    outputs = [template.replace("{}", str(number)) for number in range(1, options.n + 1)]
    # All, before one is written.
    texts = [format_map(one, options.form, output) for one, output in zip(parts, outputs, strict=True)]
    return max(write_text_pieces([text], output) for text, output in zip(texts, outputs, strict=True))


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
    parser.add_argument(
        "--skipped-in",
        metavar="MAP",
        help="entries that are skipped in a map that matches by index, whatever its hosts",
    )
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
    paths = [options.map] + [options.skipped_in] * (options.skipped_in is not None)
    maps = read_maps(paths)
    with naming(" and ".join(map(name_of, paths))):
        pairs = zip_maps(maps[0], maps[-1], any_host=True)  # a copy is on another host than its source
    is_any = options.skipped_in is None
    chosen = [one for one, other in pairs if ((is_any or other.skip) and picks(one)) is not options.negate]
    return write_map(chosen, options)


def _skip(options: argparse.Namespace) -> int:
    picks = _picks(options)
    products = read_maps([options.map])[0]
    return write_map(skip(products, lambda one: picks(one) is not options.negate, to=not options.undo), options)


def _picks(options: argparse.Namespace) -> Callable[[DataProduct | MultiDataProduct], bool]:
    """Return what tells whether an entry has these hosts and files, whether or not all others are wanted."""
    hosts = None if options.hosts is None else set(expand_hosts(options.hosts))
    if hosts is not None and not hosts:
        raise UsageError("--hosts: expected the name of a host, got none")
    return matcher(hosts, options.files)


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
    with naming(name_of(options.map)):
        if options.folder is not None:
            products = with_folder(products, make_absolute(options.folder, os.getcwd()))
        if options.suffix is not None:
            products = with_suffix(products, options.suffix)
        if options.add_suffix is not None:
            products = add_suffix(products, options.add_suffix)
    return write_map(products, options)
