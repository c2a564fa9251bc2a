"""`pipeline mapfile check`: is it a map, does anything look wrong, and are the files where it says they are."""

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice

from pipeline.cli.mapfile_files import Commands, name_of, read_maps
from pipeline.cli.output import write_output
from pipeline.errors import HostError
from pipeline.formats.mapfile import Product
from pipeline.maps.tally import doubts, paths_by_host
from pipeline.model.hosts import fold_hosts
from pipeline.recipe.config import find_config, read_config
from pipeline.run.asking import stat_on_hosts
from pipeline.run.reach import Reach
from pipeline.run.textfiles import one_line

__all__ = ["add_commands"]

_MAX_DOUBTS = 100


@dataclass(slots=True)
class _Report:
    """What was found; `missing` are (host, file), `unreachable` the verdict by host."""

    map: str
    entries: int
    hosts: str
    warnings: list[str] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The exit status."""
        return HostError.exit_code if self.unreachable else int(bool(self.missing))

    def lines(self) -> Iterable[str]:
        """Yield it for a person."""
        yield from (f"{self.map}: warning: {warning}" for warning in self.warnings)
        yield from (f"{host}: {reason}" for host, reason in self.unreachable.items())
        yield from (f"{host}: missing: {file}" for host, file in self.missing)
        if self.status:
            yield f"{self.map}: {len(self.missing)} files missing, {len(self.unreachable)} hosts not reached"
        else:
            yield f"{self.map}: ok: {self.entries} entries on {self.hosts or 'no host'}"


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `check`."""
    parser = commands.add_parser("check", help="name what is wrong with a map", description=__doc__)
    parser.add_argument("map", metavar="MAP")
    parser.add_argument(
        "--exists",
        action="store_true",
        help="ask each host whether its files are there, except skipped ones; exit status 1 if one is not, 3 if a host "
        "cannot be asked",
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="pipeline.cfg that says how hosts are reached")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    products = read_maps([options.map])[0]
    hosts = fold_hosts(dict.fromkeys(one.host for one in products))
    report = _Report(name_of(options.map), len(products), hosts, _first(doubts(products)))
    if options.exists:
        config = read_config(find_config(options.config), job_name="check", start_time="", cwd=os.getcwd())
        _look(report, products, config.reach())
    if options.json:
        return write_output(json.dumps(asdict(report), indent=2)) or report.status
    return write_output("\n".join(map(one_line, report.lines()))) or report.status


def _first(lines: Iterable[str]) -> list[str]:
    left = iter(lines)
    first = list(islice(left, _MAX_DOUBTS))
    n_more = sum(1 for _ in left)
    return [*first, f"and {n_more} more"] if n_more else first


def _look(report: _Report, products: Sequence[Product], reach: Reach) -> None:
    """Ask each host about its files, in one session, all hosts side by side."""
    files = paths_by_host(products)
    found, report.unreachable = stat_on_hosts(files, reach)
    places = [(host, file) for host, of_host in files.items() for file in of_host]
    report.missing = [place for place in places if place in found and found[place][0] == "missing"]
