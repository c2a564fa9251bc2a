"""`pipeline mapfile show` and `diff`: what is in a map, and what tells two of them apart."""

import argparse
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.cli.mapfile_files import Commands, read_maps
from pipeline.cli.output import write_output
from pipeline.errors import HostError
from pipeline.formats.mapfile import Product
from pipeline.maps.combine import diff
from pipeline.maps.tally import HostTally, add_up, fold_tallies, paths_by_host, tally_hosts
from pipeline.model.hosts import fold_hosts
from pipeline.model.products import MultiDataProduct, names_of
from pipeline.recipe.config import find_config, read_config
from pipeline.run.asking import stat_on_hosts
from pipeline.run.filelists import file_bytes
from pipeline.run.stdio import write_stderr_lines
from pipeline.run.textfiles import one_line
from pipeline.view.text import align

__all__ = ["add_commands"]

_HEADER = ("HOSTS", "ENTRIES", "FILES", "SKIPPED", "BYTES")


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add `show` and `diff`."""
    show = commands.add_parser("show", help="how many files are on which hosts")
    show.add_argument("map", metavar="MAP")
    show.add_argument("--bytes", action="store_true", help="also how large the files are that this machine can see")
    show.add_argument("--ask-hosts", action="store_true", help="as --bytes, but as the hosts see them; no directories")
    show.add_argument("-c", "--config", metavar="FILE", help="pipeline.cfg that says how hosts are reached")
    show.set_defaults(run=_show)
    compare = commands.add_parser("diff", help="what tells two maps apart; exit status 1 if anything does")
    compare.add_argument("first", metavar="MAP")
    compare.add_argument("second", metavar="MAP")
    compare.set_defaults(run=_diff)
    for parser in (show, compare):
        parser.add_argument("--json", action="store_true", help="print JSON")


def _show(options: argparse.Namespace) -> int:
    products = read_maps([options.map])[0]
    size_of, failed = _sizes(products, options)
    tallies = tally_hosts(products, size_of)
    rows = fold_tallies(tallies)
    total = add_up(tallies.values())
    with_bytes = size_of is not None
    if options.json:
        of_hosts = [_as_json(hosts, tally, with_bytes) for hosts, tally in rows]
        page = {**_as_json(fold_hosts(tallies), total, with_bytes), "by_hosts": of_hosts}
        return write_output(json.dumps(page, indent=2)) or failed
    cells = [_cells(hosts, tally, with_bytes) for hosts, tally in rows]
    if len(rows) != 1:
        n_hosts = f"{len(tallies)} host" + "s" * (len(tallies) != 1)
        cells.append(_cells(n_hosts, total, with_bytes))
    n_columns = 5 if with_bytes else 4
    return write_output("\n".join(align(_HEADER[:n_columns], cells, right=range(1, 5)))) or failed


def _sizes(
    products: Sequence[Product], options: argparse.Namespace
) -> tuple[Callable[[str, str], int | None] | None, int]:
    """Return what tells the size of a file, None if nobody asked, and the exit status."""
    if not options.ask_hosts:
        return (lambda _, file: file_bytes(file)) if options.bytes else None, 0
    config = read_config(find_config(options.config), job_name="show", start_time="", cwd=os.getcwd())
    found, failed = stat_on_hosts(paths_by_host(products), config.reach())
    write_stderr_lines([one_line(f"{host}: {reason}") for host, reason in failed.items()])
    sizes = {place: n_bytes for place, (kind, n_bytes) in found.items() if kind == "file"}
    return lambda host, file: sizes.get((host, file)), HostError.exit_code if failed else 0


def _cells(hosts: str, tally: HostTally, with_bytes: bool) -> list[str]:
    counts = [hosts, str(tally.entries), str(tally.files), str(tally.skipped)]
    if not with_bytes:
        return counts
    unknown = f" and {tally.unsized} not seen" if tally.unsized else ""
    return [*counts, f"{tally.n_bytes}{unknown}"]


def _as_json(hosts: str, tally: HostTally, with_bytes: bool) -> dict[str, Any]:
    page: dict[str, Any] = {"hosts": hosts, "entries": tally.entries, "files": tally.files, "skipped": tally.skipped}
    return {**page, "bytes": tally.n_bytes, "not_seen": tally.unsized} if with_bytes else page


def _diff(options: argparse.Namespace) -> int:
    first, second = read_maps([options.first, options.second])
    removed, added, changed = diff(first, second)
    is_order = not (removed or added or changed) and list(first) != list(second)
    if options.json:
        page: dict[str, Any] = {
            name: [_entry(one) for one in products]
            for name, products in (("removed", removed), ("added", added), ("skip_changed", changed))
        }
        return write_output(json.dumps({**page, "order_differs": is_order}, indent=2)) or int(first != second)
    lines = [f"- {_line(one)}" for one in removed] + [f"+ {_line(one)}" for one in added]
    lines += [f"~ {_line(one)}: {_skips(one)}" for one in changed]
    if is_order:
        lines.append(f"the same entries in another order, from entry {_first_other(first, second)} on")
    return write_output("\n".join(map(one_line, lines))) or int(first != second)


def _entry(product: Product) -> dict[str, Any]:
    entry = {"host": product.host, "file": product.file, "skip": product.skip}
    return {**entry, "file_skip": product.file_skip} if isinstance(product, MultiDataProduct) else entry


def _line(product: Product) -> str:
    return f"{product.host} {', '.join(names_of(product))}"


def _skips(product: Product) -> str:
    told = f"{'skipped' if product.skip else 'not skipped'} in the second"
    if not isinstance(product, MultiDataProduct):
        return told
    files = [file for file, is_skipped in zip(product.file, product.file_skip, strict=True) if is_skipped]
    return f"{told}; its skipped files: {', '.join(files) or 'none'}"


def _first_other(first: Sequence[Product], second: Sequence[Product]) -> int:
    return next(n for n, (one, other) in enumerate(zip(first, second, strict=True), 1) if one != other)
