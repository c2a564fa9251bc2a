"""`BaseRecipe`: what every master recipe derives from."""

import argparse
import logging
import os
import sys
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from pipeline.errors import RecipeFailed, RecipeNotFound, UsageError
from pipeline.recipe.active_run import ActiveRun
from pipeline.recipe.fields import DirectoryField, FileField, ListField, StoreTrueField, StringField
from pipeline.recipe.find import SHIPPED_RECIPES, find_recipe, load_recipe
from pipeline.recipe.inputs import Inputs, Outputs, Setting, add_options, collect_fields, given_options
from pipeline.recipe.tasks import Task, read_tasks

__all__ = ["BaseRecipe"]

_SHARED = ("job_name", "runtime_directory", "working_directory", "start_time", "config", "dry_run")


class BaseRecipe:
    """
    A master recipe. Its class is named after its file; `go()` does the work and returns the exit status.

    Attributes:
        inputs, outputs: Class dictionaries of fields, inherited; in an instance the values.
        error: Set when a job failed.
        logger: Named after the recipe.
        environment: Added to the environment of every job of this recipe.
        run: The run it is part of, shared with the recipes it calls.
    """

    # What a class declares, fields by name; in an instance their values, an Inputs and an Outputs.
    inputs: Any = {  # noqa: RUF012  # the field's way to declare inputs
        "job_name": StringField("-j", "--job-name", help="Name of the run and its directory", optional=True),
        "verbose": StoreTrueField("-v", "--verbose", help="Show INFO lines", default=False),
        "debug": StoreTrueField("-d", "--debug", help="Show DEBUG lines and tracebacks", default=False),
        "config": FileField("-c", "--config", help="pipeline.cfg to use", optional=True),
        "task_files": ListField("-t", "--task-file", help="Task file(s)", optional=True),
        "runtime_directory": DirectoryField("-r", "--runtime-directory", help="Runs are kept here", optional=True),
        "working_directory": DirectoryField("-w", "--working-directory", help="For data on hosts", optional=True),
        "start_time": StringField("--start-time", help="Of the run, YYYY-MM-DDThh:mm:ss", optional=True),
        "dry_run": StoreTrueField("-n", "--dry-run", help="Show which job would run where; run nothing", default=False),
    }
    outputs: Any = {}  # noqa: RUF012

    run: ActiveRun

    def __init__(self) -> None:
        """Make a recipe without inputs; `main()` or the calling recipe gives them."""
        self.name = type(self).__name__
        # Links are kept: on the hosts the recipes may be visible under this path only.
        self.__file__ = os.path.abspath(sys.modules[type(self).__module__].__file__ or "")
        self.inputs = Inputs(self.name, collect_fields(type(self), "inputs"))
        self.outputs = Outputs(self.name, collect_fields(type(self), "outputs"))
        self.error = threading.Event()
        self.logger = logging.getLogger(self.name)
        self.environment: dict[str, str] = {}

    def go(self) -> int | None:
        """Do the work; overridden by every recipe, which calls this first. None counts as 0."""
        self.logger.info("recipe %s started", self.name)
        return 0

    @property
    def config(self) -> Any:
        """The configuration, `config.get(section, key)` or `config.section.key`."""
        return self.run.config

    @property
    def node_script(self) -> str:
        """Path of the node script of the same name: `nodes` beside the recipe's `master`."""
        path = Path(self.__file__)
        return str(path.parents[1] / "nodes" / path.name)

    @cached_property
    def task_definitions(self) -> dict[str, Task]:
        """Tasks by name, from the task files of the configuration or of `-t`."""
        files = self.inputs["task_files"] or self.run.config.default.task_files
        return read_tasks(files, self.run.config.scope)

    @property
    def recipe_directories(self) -> list[str]:
        """Where recipes are looked up: as configured, beside this one, and those that come with the package."""
        return [*self.run.config.default.recipe_directories, str(Path(self.__file__).parents[1]), str(SHIPPED_RECIPES)]

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run this recipe as a program, with options from the command line, and return the exit status."""
        from pipeline.recipe.program import run_program

        return run_program(self, sys.argv[1:] if argv is None else argv)

    def perform(self) -> int:
        """Check the inputs, run `go()`, check the outputs; returns the recipe's status."""
        self.inputs.check()
        status = self._checked(self.go())
        if status == 0 and not self.run.is_dry and not self.outputs.complete():
            self.logger.error("recipe %s did not set its outputs: %s", self.name, ", ".join(self.outputs.missing()))
            status = 1
        if status == 0:
            self.logger.info("recipe %s completed", self.name)
        else:
            self.logger.error("recipe %s failed with status %s", self.name, status)
        return status

    def _checked(self, status: object) -> int:
        """Return an exit status; what cannot be one is a failure."""
        if status is None or (isinstance(status, int) and 0 <= status <= 255):
            return int(status or 0)
        self.logger.error("recipe %s: go() returned %r; expected an exit status from 0 to 255", self.name, status)
        return 1

    def run_task(self, configblock: str, datafiles: Sequence[str] = (), **kwargs: Any) -> Outputs:
        """
        Run another recipe as a section of a task file says.

        Args:
            configblock: The section.
            datafiles: Its positional arguments, `inputs['args']`.
            kwargs: Inputs that override those of the section.

        Raises:
            RecipeNotFound: No such section or recipe.
            RecipeFailed: It ended with a non-zero status.
        """
        tasks = self.task_definitions
        if configblock not in tasks:
            raise RecipeNotFound(f"no task {configblock!r}; the task files have: {', '.join(tasks) or 'none'}")
        task = tasks[configblock]
        settings = {**task.inputs, **{name: Setting(value, "recipe code") for name, value in kwargs.items()}}
        recipe = self._prepare(task.recipe, settings, datafiles)
        status = recipe.perform()
        if status:
            raise RecipeFailed(f"task {configblock!r} failed: recipe {task.recipe} returned {status}")
        outputs: Outputs = recipe.outputs
        return outputs

    def cook_recipe(
        self, recipe: str, inputs: Mapping[str, Any] | None = None, outputs: MutableMapping[str, Any] | None = None
    ) -> int:
        """Run another recipe with these inputs (`args`: its positionals), fill in `outputs`, return its status."""
        given = {name: value for name, value in (inputs or {}).items() if name != "args"}
        settings = {name: Setting(value, "recipe code") for name, value in given.items()}
        cooked = self._prepare(recipe, settings, (inputs or {}).get("args") or ())
        status = cooked.perform()
        if outputs is not None:
            for name, value in cooked.outputs.items():
                if not isinstance(outputs, Outputs) or name in outputs.fields:  # it may have more than ours
                    outputs[name] = value
        return status

    def parse_options(self, argv: Sequence[str]) -> None:
        """
        Set inputs from a command line.

        Raises:
            UsageError: One line; `-h` is a SystemExit.
        """
        summary = (sys.modules[type(self).__module__].__doc__ or type(self).__doc__ or "").strip().partition("\n")[0]
        parser = _Parser(prog=Path(self.__file__).name, description=summary, allow_abbrev=False)
        fields = collect_fields(type(self), "inputs")
        add_options(parser, fields)
        parser.add_argument("args", nargs="*", help="positional arguments of the recipe")
        options = parser.parse_intermixed_args(argv)
        self.inputs.set("args", options.args, "command line")
        self.inputs.assign(given_options(options, fields))

    def _prepare(self, name: str, settings: Mapping[str, Setting], args: Sequence[str]) -> "BaseRecipe":
        recipe = load_recipe(find_recipe(name, self.recipe_directories))()
        recipe.run = self.run
        recipe.environment = dict(self.environment)
        ours = {key: self.inputs.get(key) for key in _SHARED}
        shared = {key: Setting(value, "calling recipe") for key, value in ours.items() if value is not None}
        recipe.inputs.assign({**shared, **settings})
        recipe.inputs.set("args", list(args), "calling recipe")
        return recipe


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as ours are reported: one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; -h shows the options")
