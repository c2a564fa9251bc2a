"""`pipeline config`: what is configured, and what is wrong with it."""

import argparse
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli.output import write_output
from pipeline.errors import ConfigError
from pipeline.recipe.config import Config, find_config, read_config
from pipeline.recipe.tasks import read_tasks
from pipeline.run.textfiles import one_line

__all__ = ["add_parser"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommands `config show` and `config check`."""
    parser = subparsers.add_parser("config", help="show or check pipeline.cfg")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    show = commands.add_parser("show", help="print every key, its value and where it came from")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=_show)
    check = commands.add_parser("check", help="name all problems of the file and of its task files")
    check.set_defaults(run=_check)
    for command in (show, check):
        command.add_argument("-c", "--config", metavar="FILE", help="instead of the file that would be found")


def _show(options: argparse.Namespace) -> int:
    config = _read(find_config(options.config))
    if options.json:
        return write_output(json.dumps(_rows(config), indent=2))
    lines: list[str] = []
    section = ""
    for row in _rows(config):
        if row["section"] != section:
            section = row["section"]
            lines.append(f"[{section}]")
        lines.append(f"{row['key']} = {one_line(row['value'])}  # {row['source']}")
    return write_output("\n".join(lines))


def _check(options: argparse.Namespace) -> int:
    path = find_config(options.config)
    try:
        config = _read(path)
        read_tasks(config.default.task_files, config.scope)
    except ConfigError as error:
        raise ConfigError(_in_line_order(error.problems)) from None
    return write_output("no pipeline.cfg: the defaults count" if path is None else f"{one_line(path)}: ok")


def _in_line_order(problems: Sequence[str]) -> list[str]:
    """Sort the problems of each file by line; those without a line come last."""
    places = {problem: re.match(r"(.*?):(\d+):", problem) for problem in problems}
    files = list(dict.fromkeys(place[1] for place in places.values() if place))

    def order(problem: str) -> tuple[int, int]:
        place = places[problem]
        return (files.index(place[1]), int(place[2])) if place else (len(files), 0)

    return sorted(problems, key=order)


def _read(path: Path | None) -> Config:
    # There is no run: its name and time stay visible as what they are.
    return read_config(path, job_name="<job_name>", start_time="<start_time>", cwd=os.getcwd())


def _rows(config: Config) -> list[dict[str, str]]:
    """Return all keys, those of the user's own behind the known ones of their section."""
    sections = list(dict.fromkeys(section for section, _ in config.settings))
    return [
        {"section": section, "key": key, "value": setting.value, "source": setting.source}
        for wanted in sections
        for (section, key), setting in config.settings.items()
        if section == wanted
    ]
