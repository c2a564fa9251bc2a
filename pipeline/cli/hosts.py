"""`pipeline hosts check`: can I log in, is Python there, are the recipe directories visible, what is its clock."""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.cli.output import write_output
from pipeline.errors import HostError, UsageError
from pipeline.model.hosts import expand_hosts
from pipeline.recipe.config import Config, find_config, read_config
from pipeline.recipe.mapfiles import read_mapfile
from pipeline.run.asking import ask_hosts, stat_all
from pipeline.run.link import Link
from pipeline.run.reach import Reach
from pipeline.run.textfiles import one_line

__all__ = ["add_parser"]


@dataclass(frozen=True, slots=True)
class _Check:
    """What was found on one host; `clock_offset_s` is its clock minus ours, to about the time of a round trip."""

    host: str
    ok: bool
    message: str
    way: str
    python: str = ""
    cores: int = 0
    clock_offset_s: float = 0.0
    missing_directories: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """One line for a person."""
        if self.message:
            return f"{self.host}: {self.message}"
        facts = f"Python {self.python}, {self.cores} cores, clock {self.clock_offset_s:+.1f} s, {self.way}"
        missing = ", ".join(self.missing_directories)
        return f"{self.host}: " + (
            f"recipe directories not visible there: {missing}; {facts}" if missing else f"ok: {facts}"
        )


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `hosts check`."""
    parser = subparsers.add_parser("hosts", help="check hosts")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    check = commands.add_parser("check", help="one line per host: login, Python, recipes, clock, cores")
    check.add_argument("hosts", metavar="HOST", nargs="*", help="names, also folded: lce[001-072]")
    check.add_argument("-m", "--mapfile", metavar="FILE", help="the hosts of a mapfile")
    check.add_argument("-c", "--config", metavar="FILE", help="pipeline.cfg that says how hosts are reached")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """Return 0 if every host can be used, else 3."""
    hosts = [host for words in options.hosts for host in expand_hosts(words)]
    if options.mapfile:
        hosts += [product.host for product in read_mapfile(options.mapfile)]
    if not hosts:
        raise UsageError("pipeline hosts check: name hosts, or a mapfile with -m")
    config = read_config(find_config(options.config), job_name="check", start_time="", cwd=os.getcwd())
    checks = _check_all(list(dict.fromkeys(hosts)), config)
    text = (
        json.dumps([asdict(check) for check in checks], indent=2)
        if options.json
        else "\n".join(one_line(check.line) for check in checks)
    )
    return write_output(text + "\n") or (0 if all(check.ok for check in checks) else HostError.exit_code)


def _check_all(hosts: Sequence[str], config: Config) -> list[_Check]:
    """Check many hosts side by side, through the same gates and parameters as a run; one answer each, in order."""
    reach = config.reach()
    found: dict[str, _Check] = {}
    for host, answer in ask_hosts(hosts, reach, lambda link: _check_agent(link, config, reach)):
        if isinstance(answer, HostError):
            answer = _Check(host, False, answer.reason, reach.describe(host))
        found[host] = answer
    return [found[host] for host in hosts]


def _check_agent(link: Link, config: Config, reach: Reach) -> _Check:
    directories = [str(Path(directory)) for directory in config.default.recipe_directories]
    hello = link.hello
    offset_s = float(hello["time"]) - link.hello_at_s
    kinds = [kind for kind, _ in stat_all(link, directories)]
    missing = tuple(directory for directory, kind in zip(directories, kinds, strict=True) if kind != "directory")
    way, python, cores = reach.describe(link.host), str(hello["python"]), int(hello["cores"])
    return _Check(link.host, not missing, "", way, python, cores, round(offset_s, 3), missing)
