"""`pipeline mapfile`: make, look at, check and change mapfiles."""

import argparse

from pipeline.cli import mapfile_change, mapfile_check, mapfile_make, mapfile_show

__all__ = ["add_parser"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommands of `mapfile`."""
    parser = subparsers.add_parser(
        "mapfile",
        help="make, show, check and change mapfiles",
        description="Mapfiles say which file is on which host. `-` is standard input; maps go to standard output.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (mapfile_make, mapfile_show, mapfile_check, mapfile_change):
        module.add_commands(commands)
