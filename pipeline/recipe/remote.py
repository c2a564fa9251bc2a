"""`RemoteCommand`: what a recipe mixes in to run jobs on hosts."""

import logging
import shlex
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline.errors import InputError
from pipeline.model.jobs import ComputeJob, JobState, Outcome
from pipeline.recipe.active_run import ActiveRun
from pipeline.recipe.fields import IntField
from pipeline.run.batch import Batch
from pipeline.run.notices import JobDefaults
from pipeline.run.outcomes import job_results
from pipeline.run.stdio import write_stdout_lines

__all__ = ["RemoteCommand", "RemoteCommandRecipeMixIn"]


class RemoteCommand:
    """Mix-in for recipes that run jobs; `self.error` is set when one of them does not end well."""

    if TYPE_CHECKING:  # what BaseRecipe has
        error: threading.Event
        logger: logging.Logger
        environment: dict[str, str]
        run: ActiveRun

    inputs: Any = {  # noqa: RUF012  # the field's way to declare inputs
        "max_per_node": IntField(
            "--max-per-node", help="Most jobs at a time on one host; 0 is no limit", optional=True
        ),
    }

    def _schedule_jobs(self, jobs: Iterable[ComputeJob], max_per_node: int | None = None) -> dict[int, ComputeJob]:
        """
        Run jobs on their hosts and wait for all of them.

        Args:
            max_per_node: Most at a time on one host, over the whole run; 0 is no limit. None: the task's or
                option's value, then `[remote] max_per_node`, then the number of cores of the host.

        Returns:
            The same jobs by job id, in the order given, each with its `results`.
        """
        jobs = list(jobs)
        if self.run.is_dry:
            return self._show(jobs, max_per_node)
        batch = self.submit_jobs(jobs, max_per_node)
        self.logger.info("Waiting for %d jobs...", len(jobs))
        return batch.wait()

    def submit_jobs(self, jobs: Iterable[ComputeJob], max_per_node: int | None = None) -> Batch:
        """Run jobs without waiting; iterate over what is returned to get them as they complete."""
        jobs = list(jobs)
        if wrong := [job for job in jobs if not isinstance(job, ComputeJob)]:
            raise InputError(f"jobs: expected ComputeJob or CommandJob, got {wrong[0]!r}")
        if self.run.is_dry:
            return Batch(self._show(jobs, max_per_node), lambda job_ids: None, is_done=True)
        limit, source = self._limit(max_per_node)
        self.logger.info("Jobs at a time on a host: %s (%s)", _shown(limit), source)
        remote = self.run.config.remote
        dispatcher = self.run.dispatcher
        environment = {**self.run.log_environment, **self.environment}
        defaults = JobDefaults(environment, remote.job_timeout, remote.retries, remote.failure_policy == "stop")
        return dispatcher.submit(jobs, limit, self.logger, next(self.run.steps), defaults, self.error)

    def _limit(self, argument: int | None) -> tuple[int | None, str]:
        """Return the limit per host and where it comes from."""
        for value, source in (
            (argument, "from the call"),
            (self.inputs.get("max_per_node"), f"max_per_node from {self.inputs.source('max_per_node')}"),
            (self.run.config.remote.max_per_node, self.run.config.source("remote", "max_per_node")),
        ):
            if value is not None:
                if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                    raise InputError(f"max_per_node ({source}): expected an integer >= 0, got {value!r}")
                return value, source
        return None, "nothing else is said"

    def _show(self, jobs: list[ComputeJob], max_per_node: int | None) -> dict[int, ComputeJob]:
        """Print which job would run where and why, and what it would run."""
        limit, source = self._limit(max_per_node)
        lines = [f"Dry run: {len(jobs)} jobs; at a time on a host: {_shown(limit)} ({source})"]
        for job_id, job in enumerate(jobs, 1):
            host = job.hosts[0]
            why = f"first of {', '.join(job.hosts)}" if len(job.hosts) > 1 else "its host"
            words = [*job.command, *(["<loghost>", "<logport>"] if job.is_script else []), *job.argument_words]
            line = shlex.join(words).replace("'<loghost>' '<logport>'", "<loghost> <logport>")
            lines.append(f"  job {job_id} ({job.name}) on {host} [{why}, {self.run.reach.describe(host)}]: {line}")
            results = _DryResults(
                f"job {job_id} ({job.name})", job_results(job_id, host, 0, Outcome(JobState.PENDING, 0))
            )
            object.__setattr__(job, "results", results)
        write_stdout_lines(lines)
        return dict(enumerate(jobs, 1))


RemoteCommandRecipeMixIn = RemoteCommand


class DryRunEnds(Exception):
    """A recipe wants what only a job that ran can give."""


class _DryResults(dict[str, Any]):
    """What a job would have as results, as far as it is known before it runs."""

    def __init__(self, job: str, known: dict[str, Any]) -> None:
        super().__init__(known)
        self._job = job

    def __missing__(self, key: str) -> NoReturn:
        raise DryRunEnds(f"the recipe asks for {key!r} of {self._job}, which did not run")


def _shown(limit: int | None) -> str:
    return "one per core" if limit is None else "no limit" if limit == 0 else str(limit)
