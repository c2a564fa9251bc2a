"""`pipeline status`: how a run stands, from its run store; works while it runs and after."""

import argparse
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from pipeline.cli.output import write_output
from pipeline.errors import StoreError, UsageError
from pipeline.model.jobs import JobState
from pipeline.recipe.config import Config, find_config, read_config
from pipeline.run.store_reader import JobRow, RunReader
from pipeline.run.textfiles import one_line
from pipeline.view.screen import can_show_block
from pipeline.view.status import format_json, format_page, format_page_for_terminal, status_page

__all__ = ["add_parser"]

_STORE = "run.sqlite"
_NAMES_SHOWN = 8
_FAILED = frozenset(state for state in JobState if state.is_final and state is not JobState.OK)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `status` to the `pipeline` command."""
    parser = subparsers.add_parser("status", help="show how a run stands", description=__doc__)
    parser.add_argument("run_name", metavar="RUN", nargs="?", help="job directory or job name; default: the latest")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--jobs", action="store_true", help="list the jobs too")
    parser.add_argument("--failed", action="store_true", help="list the jobs that failed")
    parser.add_argument("-c", "--config", metavar="FILE", help="pipeline.cfg that says where runs are kept")
    parser.add_argument("-r", "--runtime-directory", metavar="DIR", help="where runs are kept; default: ./runs")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """Print the status; raise UsageError for an unknown run, StoreError for one that cannot be read."""
    path = _find_store(options)
    with RunReader.open(path) as reader:
        summary = reader.summary()
        if summary is None:
            raise UsageError(f"{one_line(path)}: no run has begun in it yet; ask again when its master has started")
        jobs = _listed_jobs(reader, summary.run.run_id, options)
    if options.json:
        return write_output(format_json(summary, jobs))
    page = status_page(summary, jobs, time.time())
    if can_show_block(sys.stdout):
        return write_output(format_page_for_terminal(page, _width()))
    return write_output(format_page(page))


def _listed_jobs(reader: RunReader, run_id: int, options: argparse.Namespace) -> list[JobRow] | None:
    if not options.jobs and not options.failed:
        return None
    return reader.jobs(run_id, _FAILED if options.failed else None)


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return 80


def _find_store(options: argparse.Namespace) -> Path:
    """The store of the run asked for: a job directory, or a job's name below the runtime directory."""
    name = options.run_name
    if name is not None and _has_store(Path(name)):
        return Path(name) / _STORE
    config = _read_config(options, name or "")
    runtime_directory = Path(config.default.runtime_directory)
    if name is None:
        return _latest(runtime_directory)
    # A name with a slash was a path; as a name it would lead out of the runtime directory.
    job_directory = Path(config.layout.job_directory)
    if name and "/" not in name and _has_store(job_directory):
        return job_directory / _STORE
    raise UsageError(f"run {name!r}: no {_STORE} in {name!r} or {str(job_directory)!r}; {_known(runtime_directory)}")


def _has_store(directory: Path) -> bool:
    return os.path.isfile(directory / _STORE)  # Path.is_file raises for a name that is too long


def _read_config(options: argparse.Namespace, job_name: str) -> Config:
    overrides = {"runtime_directory": options.runtime_directory} if options.runtime_directory else {}
    path = find_config(options.config, Path.cwd())
    return read_config(path, job_name=job_name, start_time="", cwd=str(Path.cwd()), overrides=overrides)


def _latest(runtime_directory: Path) -> Path:
    began = [(_began_at(path), path) for path in _stores(runtime_directory)]
    found = [(at, path) for at, path in began if at is not None]
    if not found:
        raise UsageError(f"no run found in {str(runtime_directory)!r}; name a job directory, or use -r or -c")
    return max(found)[1]


def _began_at(path: Path) -> float | None:
    """When the latest run in a store began; None if it has none or cannot be read."""
    try:
        with RunReader.open(path) as reader:
            runs = reader.runs()
    except StoreError:
        return None
    return runs[-1].began_at if runs else None


def _stores(runtime_directory: Path) -> Iterable[Path]:
    return sorted(runtime_directory.glob(f"*/{_STORE}"))


def _known(runtime_directory: Path) -> str:
    names = [repr(path.parent.name) for path in _stores(runtime_directory)]
    if not names:
        return f"there are no runs in {str(runtime_directory)!r}"
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"runs there: {', '.join(names[:_NAMES_SHOWN])}{more}"
