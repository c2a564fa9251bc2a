"""The `pipeline` command."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from pipeline.errors import PipelineError, UsageError
from pipeline.run.stdio import write_stderr_lines

__all__ = ["main"]

COMMANDS = ("run", "new", "hosts", "config", "status", "mapfile", "parset")


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as ours are reported: one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; -h shows how to call it")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit status of the process."""
    words = list(sys.argv[1:] if argv is None else argv)
    # What follows `run RECIPE` is the recipe's own command line.
    cut = 2 if words[:1] == ["run"] else len(words)
    try:
        options = _parser(words).parse_args(words[:cut])
        options.rest = words[cut:]
        return int(options.run(options))
    except PipelineError as error:
        write_stderr_lines(str(error).splitlines())
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="pipeline", description="Master/node recipes over SSH: run a script where the data is.")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    # Only the module of the command that was asked for is imported: some of them take a while.
    asked = [name for name in COMMANDS if name in words[:1]]
    for name in asked or COMMANDS:
        importlib.import_module(f"pipeline.cli.{name}").add_parser(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
