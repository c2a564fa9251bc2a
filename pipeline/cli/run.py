"""`pipeline run`: the same as running a recipe's file."""

import argparse
import os
from pathlib import Path

from pipeline.recipe.config import find_config, read_config
from pipeline.recipe.find import SHIPPED_RECIPES, find_recipe, load_recipe

__all__ = ["add_parser"]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `run`; everything behind the recipe's name goes to the recipe."""
    parser = subparsers.add_parser(
        "run", help="run a recipe", usage="pipeline run RECIPE [OPTION]... [ARG]...", description=__doc__
    )
    parser.add_argument("recipe", metavar="RECIPE", help="name or file of a recipe; -h behind it shows its options")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    path = Path(options.recipe)
    if path.suffix != ".py":
        path = find_recipe(options.recipe, _directories(options.rest))
    return load_recipe(path)().main(options.rest)


def _directories(words: list[str]) -> list[str | Path]:
    """Return where to look: as configured, here, in ./recipes, and what came with the package."""
    explicit = _value_of(words, ("-c", "--config"))
    config = read_config(find_config(explicit), job_name="", start_time="", cwd=os.getcwd())
    return [*config.default.recipe_directories, ".", "recipes", SHIPPED_RECIPES]


def _value_of(words: list[str], names: tuple[str, ...]) -> str | None:
    """The configuration is needed to find the recipe, whose fields are needed to parse the options."""
    for word, following in zip(words, words[1:] + [""] * bool(words), strict=True):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else following
    return None
