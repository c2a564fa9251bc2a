"""A recipe as a program: configuration, logging, the run, signals, results, exit status."""

import logging
import os
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType

from pipeline.errors import PipelineError, StoreError, UsageError
from pipeline.recipe.active_run import ActiveRun, check_job_name, check_start_time, format_start_time
from pipeline.recipe.base import BaseRecipe
from pipeline.recipe.config import Config, find_config, read_config
from pipeline.recipe.log_setup import LogSetup
from pipeline.recipe.remote import DryRunEnds
from pipeline.recipe.tasks import read_input_defaults
from pipeline.run.stdio import write_stderr_lines, write_stdout_lines
from pipeline.run.textfiles import one_line
from pipeline.view.progress import Progress

__all__ = ["run_program"]

EXIT_FAILED = 1
EXIT_LOST = 3
EXIT_LEFT_BEHIND = 5

log = logging.getLogger("pipeline")


class Interrupted(BaseException):
    """The user or the system wants us to end."""

    def __init__(self, number: int) -> None:
        """Carry the signal's number."""
        self.number = number


def run_program(recipe: BaseRecipe, argv: Sequence[str]) -> int:
    """Run a top-level recipe from its command line and return the exit status of the process."""
    try:
        with _signals() as interruption:
            return _run(recipe, argv, interruption)
    except PipelineError as error:
        if "-d" in argv or "--debug" in argv:  # before there is a log
            write_stderr_lines(traceback.format_exc().splitlines())
        return _complain(error)
    except Interrupted as interrupted:
        return 128 + interrupted.number


def _run(recipe: BaseRecipe, argv: Sequence[str], interruption: "_Interruption") -> int:
    recipe.parse_options(argv)
    inputs = recipe.inputs
    config, job_name, start_time = _configure(recipe)
    _apply_parset(recipe)
    inputs.check()
    level = logging.DEBUG if inputs["debug"] else logging.INFO if inputs["verbose"] else config.logging.stderr_level
    progress = Progress()
    with progress, LogSetup(level, config.logging.format, config.logging.datefmt, progress.stream) as logs:
        run = recipe.run = ActiveRun(config, start_time, is_dry=inputs["dry_run"], watch=progress.handle)
        interruption.run = run
        if not run.is_dry:
            log_file = run.open(recipe.name, job_name, start_time, [recipe.__file__, *argv])
            logs.open_file(log_file)
            recipe.logger.debug("Logging to %s", log_file)
        return _perform(recipe)


def _configure(recipe: BaseRecipe) -> tuple[Config, str, str]:
    """Read the configuration; returns it, the job name and the start time, all three also known to the inputs."""
    inputs = recipe.inputs
    job_name = check_job_name(recipe.name if inputs["job_name"] is None else inputs["job_name"])
    start = datetime.now()
    while True:
        start_time = check_start_time(inputs["start_time"]) if inputs["start_time"] else format_start_time(start)
        config = read_config(
            find_config(inputs["config"], Path(recipe.__file__).parent),
            job_name=job_name,
            start_time=start_time,
            cwd=os.getcwd(),
            overrides={key: inputs[key] for key in ("runtime_directory", "working_directory") if inputs[key]},
        )
        if inputs["start_time"] or not Path(config.layout.job_directory, "logs", start_time).exists():
            break
        start += timedelta(seconds=1)  # the last run began in this second: each has files of its own
    known = {
        "job_name": job_name,
        "start_time": start_time,
        "runtime_directory": config.default.runtime_directory,
        "working_directory": config.default.working_directory,
    }
    for key, value in known.items():
        if inputs[key] is None:
            inputs.set(key, value, "default")
    return config, job_name, start_time


def _perform(recipe: BaseRecipe) -> int:
    """Run the recipe; whatever happens, its jobs and agents are ended and the run's end is written."""
    status, has_results = EXIT_FAILED, False
    try:
        status = recipe.perform()
        has_results = True
    except PipelineError as error:
        status = _complain(error)
        log.debug("traceback:", exc_info=True)
    except (Interrupted, KeyboardInterrupt) as interrupted:
        number = interrupted.number if isinstance(interrupted, Interrupted) else signal.SIGINT
        status = 128 + number
        recipe.logger.error("interrupted by %s: ending all jobs", signal.Signals(number).name)
    except DryRunEnds as end:
        status = 0
        write_stdout_lines([f"The dry run ends here: {end}"])
    except SystemExit as ended:  # a recipe that calls sys.exit() still ends its jobs
        status = _status_of(ended)
    except Exception as error:  # a bug in a user's recipe: one line, the traceback with -d
        recipe.logger.error("recipe %s: %s: %s", recipe.name, type(error).__name__, error, exc_info=True)
    left_behind = recipe.run.stop()
    for line in left_behind:
        recipe.logger.error("processes may be left on %s", line)
    if status == EXIT_FAILED and recipe.run.has_lost:
        status = EXIT_LOST
    if left_behind and status >= 128:
        status = EXIT_LEFT_BEHIND
    try:
        recipe.run.close(status)
    except StoreError as error:
        status = error.exit_code if status == error.exit_code else _complain(error)  # once is enough
    if has_results:
        _print_results(recipe)
    return status


def _status_of(ended: SystemExit) -> int:
    """Return the status that Python itself would exit with."""
    if ended.code is None or isinstance(ended.code, int):
        return (ended.code or 0) & 0xFF
    write_stderr_lines([str(ended.code)])
    return EXIT_FAILED


def _apply_parset(recipe: BaseRecipe) -> None:
    """Take defaults for inputs from `<recipe>.parset` beside the recipe; the command line wins."""
    path = Path(recipe.__file__).with_suffix(".parset")
    if path.is_file():
        defaults = read_input_defaults(path)
        given = {name for name in recipe.inputs if recipe.inputs.source(name) == "command line"}
        recipe.inputs.assign({name: value for name, value in defaults.items() if name not in given})


def _print_results(recipe: BaseRecipe) -> None:
    lines = [one_line(f"{key} = {value}") for key, value in recipe.outputs.items()] or ["No results"]
    if problem := write_stdout_lines(["Results:", *lines]):  # the run itself is in its log and store
        recipe.logger.warning("stdout: cannot be written: %s", problem)


def _complain(error: PipelineError) -> int:
    """Tell the user, a line per problem, and return the exit status."""
    problems = error.problems if isinstance(error, UsageError) else (str(error),)
    write_stderr_lines(problems)
    return error.exit_code


class _Interruption:
    """
    What signals do: the first ends all jobs and raises `Interrupted` in the main thread, later ones hurry the end.

    The jobs are ended at once, not when the recipe has noticed: it may be waiting for threads of its own.
    """

    def __init__(self) -> None:
        self.run: ActiveRun | None = None
        self._count = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self.run:
            self.run.end_jobs(is_urgent=self._count > 1)
        if self._count == 1:  # raised twice, it would leave before the jobs are ended
            raise Interrupted(number)


@contextmanager
def _signals() -> Iterator[_Interruption]:
    """Handle Ctrl-C, TERM and a closed terminal alike; what is ignored (nohup) stays so."""
    interruption = _Interruption()
    is_main = threading.current_thread() is threading.main_thread()  # only there can handlers be set
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if is_main else ()
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    old = {number: signal.signal(number, interruption) for number in heeded}
    try:
        yield interruption
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
