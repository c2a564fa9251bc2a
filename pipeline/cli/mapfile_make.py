"""`pipeline mapfile make`: deal files to hosts."""

import argparse
import os
from collections.abc import Callable, Iterable, Iterator

from pipeline.cli.mapfile_files import Commands, add_form, write_text_pieces
from pipeline.errors import HostNameError, MapfileError, UsageError
from pipeline.formats.mapfile import Product
from pipeline.formats.mapfile_reader import MAX_ENTRIES
from pipeline.formats.mapfile_stream import format_in_pieces
from pipeline.maps.deal import deal, deal_in_stream
from pipeline.maps.keys import key_by_glob, key_by_regex
from pipeline.maps.names import make_absolute
from pipeline.model.hosts import expand_hosts
from pipeline.run.filelists import file_bytes, find_files, read_names
from pipeline.run.stdio import write_stderr_lines
from pipeline.run.textfiles import MAX_TEXT_BYTES, one_line, read_text

__all__ = ["add_commands"]

_MAX_PROBLEMS = 100


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `make`."""
    parser = commands.add_parser("make", help="deal files to hosts", description=__doc__)
    parser.add_argument("files", metavar="FILE", nargs="*", help="file, pattern in quotes, or directory to look into")
    parser.add_argument("--from-file", metavar="LIST", help="file with a name on each line; - is standard input")
    parser.add_argument("-0", "--null", action="store_true", help="names in LIST end with NUL: find -print0")
    parser.add_argument("--pattern", metavar="GLOB", help="only names that match, of what is found in directories")
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        help="names must be visible on this machine; default: those given as FILE must, those in LIST need not",
    )
    hosts = parser.add_argument_group("hosts, all that are named")
    hosts.add_argument("--hosts", metavar="HOSTS", action="append", default=[], help="names, also folded: lce[001-072]")
    hosts.add_argument("--hosts-from", metavar="FILE", help="file with names on its lines, also folded; # is a comment")
    hosts.add_argument("--clusterdesc", metavar="FILE", help="the compute nodes of a cluster and its sub-clusters")
    _add_dealing(parser.add_argument_group("dealing"))
    add_form(parser, "default: literal, which is written entry by entry; parset needs all of them in memory")
    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="instead of standard output")
    parser.set_defaults(run=_make)


def _add_dealing(group: argparse._ArgumentGroup) -> None:
    what = "turn (default), size, hash (the same file always on the same host), key (files with the same key on one)"
    group.add_argument("--by", choices=("turn", "size", "hash", "key"), help=what)
    group.add_argument("--key", metavar="REGEX", help="the key is its group in a file's path")
    group.add_argument("--key-glob", metavar="GLOB", help="the key is what its first * stands for in a file's name")
    group.add_argument("--max-per-host", metavar="N", type=int, help="most files for one host")


def _make(options: argparse.Namespace) -> int:
    hosts = _hosts(options)
    key = _key(options)
    by = options.by or ("key" if key else "turn")
    names = _names(options)
    products: Iterable[Product]
    if by == "size":
        files = list(names)
        products = deal(files, hosts, by=by, sizes=_sizes(files), max_per_host=options.max_per_host)
    else:
        products = deal_in_stream(names, hosts, by=by, key=key, max_per_host=options.max_per_host)
    counted = _Counted(products, options.form or "literal")
    status = write_text_pieces(counted, options.output)
    if counted.is_too_large:
        write_stderr_lines([counted.warning])
    return status


def _hosts(options: argparse.Namespace) -> list[str]:
    hosts = [host for words in options.hosts for host in expand_hosts(words)]
    if options.hosts_from:
        hosts += _listed_hosts(options.hosts_from)
    if options.clusterdesc:
        from pipeline.recipe.clusterdescs import read_clusterdesc  # brings the grammar of parsets, rarely needed

        hosts += read_clusterdesc(options.clusterdesc).all_nodes("compute")
    if not hosts:
        raise UsageError("pipeline mapfile make: name hosts: --hosts 'lce[001-072]', --hosts-from or --clusterdesc")
    return hosts


def _listed_hosts(path: str) -> list[str]:
    hosts: list[str] = []
    problems: list[str] = []
    for number, line in enumerate(read_text(path, what="list of hosts").split("\n"), 1):
        for word in line.partition("#")[0].split():
            try:
                hosts += expand_hosts(word)
            except HostNameError as error:
                problems.append(f"{one_line(path)}:{number}: {error}")
    if problems:
        raise _all(problems, "", HostNameError)
    return hosts


def _key(options: argparse.Namespace) -> Callable[[str], str] | None:
    given = [name for name in (options.key, options.key_glob) if name is not None]
    if len(given) > 1 or (options.by == "key") > len(given) or (given and options.by not in (None, "key")):
        raise UsageError("pipeline mapfile make: --by key goes with --key REGEX or with --key-glob GLOB")
    if not given:
        return None
    return key_by_glob(options.key_glob) if options.key is None else key_by_regex(options.key)


def _names(options: argparse.Namespace) -> Iterator[str]:
    """Return all names, absolute; those of files that are given one by one are looked for at once."""
    if not options.files and options.from_file is None:
        raise UsageError("pipeline mapfile make: name files, patterns or directories, or a list with --from-file")
    if options.null and options.from_file is None:
        raise UsageError("pipeline mapfile make: -0 goes with --from-file")
    here = os.getcwd()
    given = _found(options.files, options.pattern) if options.check is not False else options.files
    listed: Iterator[str] = iter(())
    if options.from_file is not None:
        listed = read_names(options.from_file, ends_with_nul=options.null)
        if options.check:
            listed = iter(_visible(listed))
    return (make_absolute(name, here) for names in (given, listed) for name in names)


def _found(words: Iterable[str], pattern: str | None) -> list[str]:
    found: list[str] = []
    problems: list[str] = []
    for word in words:
        try:
            found += find_files(word, pattern)
        except MapfileError as error:
            problems += error.problems
    if problems:
        raise _all(problems, "; --no-check takes names that only the hosts can see")
    return found


def _visible(names: Iterable[str]) -> list[str]:
    listed = list(names)
    missing = [f"{name!r}: expected a file, found nothing there" for name in listed if not os.path.exists(name)]
    if missing:
        raise _all(missing, "")
    return listed


def _sizes(files: Iterable[str]) -> list[int]:
    sizes = [(file, file_bytes(file)) for file in files]
    unknown = [f"{file!r}: not visible here, so that --by size cannot be" for file, size in sizes if size is None]
    if unknown:
        raise _all(unknown, "")
    return [size or 0 for _, size in sizes]


def _all(problems: list[str], hint: str, error: type[UsageError] = MapfileError) -> UsageError:
    more = [f"and {len(problems) - _MAX_PROBLEMS} more"] if len(problems) > _MAX_PROBLEMS else []
    return error([problem + hint for problem in problems[:_MAX_PROBLEMS]] + more)


class _Counted:
    """Pieces of a map on their way out; afterwards it is known how much they were."""

    def __init__(self, products: Iterable[Product], form: str) -> None:
        self._n_entries = self._n_bytes = 0
        self._pieces = format_in_pieces(self._counted(products), form)

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces:
            self._n_bytes += len(piece)
            yield piece

    def _counted(self, products: Iterable[Product]) -> Iterator[Product]:
        for self._n_entries, product in enumerate(products, 1):
            yield product

    @property
    def is_too_large(self) -> bool:
        """Whether it is more than a reader takes."""
        return self._n_entries > MAX_ENTRIES or self._n_bytes > MAX_TEXT_BYTES

    @property
    def warning(self) -> str:
        """What to tell the user then."""
        return (
            f"warning: the map has {self._n_entries} entries in {self._n_bytes} bytes, and more than {MAX_ENTRIES} or "
            f"{MAX_TEXT_BYTES} are not read back; make several, e.g. from parts of the list (split -l)"
        )
