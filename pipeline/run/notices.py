"""What recipes ask of the dispatcher, and what it keeps of each job."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import InputError
from pipeline.formats.frames import MAX_MESSAGE_BYTES
from pipeline.model.jobs import ComputeJob, Outcome
from pipeline.run.batch import Batch
from pipeline.schedule.events import JobPlan

__all__ = ["Asked", "JobDefaults", "JobEntry", "StopAsked", "Submission"]

_MAX_TASK_BYTES = MAX_MESSAGE_BYTES - (4 << 20)  # leaves room for the command and the environment
_SURELY_FITS = _MAX_TASK_BYTES // 12


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """
    What counts for jobs that do not say.

    Attributes:
        environment: Added to that of the host, before the job's own.
        timeout_s: Until TIMEOUT; None is no limit.
        retries: Further attempts after a failure.
        stops_on_failure: The first job that fails cancels the others of its batch.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    retries: int = 0
    stops_on_failure: bool = False


class Submission:
    """A batch to run, its limit per host, and the logger and step of the recipe it comes from."""

    __slots__ = ("batch", "defaults", "logger", "max_per_node", "step")

    def __init__(
        self, batch: Batch, max_per_node: int | None, logger: logging.Logger, step: int, defaults: JobDefaults
    ) -> None:
        """
        See `Dispatcher.submit`.

        Raises:
            InputError: If the arguments of a job are longer than a message to a host can be.
        """
        for job in batch.jobs.values():
            _check_size(job)
        self.batch = batch
        self.defaults = defaults
        self.max_per_node = max_per_node
        self.logger = logger
        self.step = step

    def plans(self) -> Iterator[JobPlan]:
        """What the schedule needs to know of the jobs."""
        for job_id, job in self.batch.jobs.items():
            yield JobPlan(job_id, job.hosts, self.max_per_node, job.cores, self.max_attempts(job))

    def max_attempts(self, job: ComputeJob) -> int:
        """1 + the retries of the job, or else of the configuration."""
        return 1 + (self.defaults.retries if job.retries is None else job.retries)


class Asked:
    """Somebody wants these jobs cancelled."""

    __slots__ = ("job_ids",)

    def __init__(self, job_ids: frozenset[int]) -> None:
        """See `Batch.cancel`."""
        self.job_ids = job_ids


class StopAsked:
    """The run is to end, jobs and agents with it."""

    __slots__ = ("grace_s",)

    def __init__(self, grace_s: float) -> None:
        """See `Dispatcher.stop`."""
        self.grace_s = grace_s


class JobEntry:
    """
    A job in the dispatcher.

    Attributes:
        attempts: Executions so far.
        outcome: Of its last attempt that ended.
    """

    __slots__ = ("attempts", "job", "outcome", "submission")

    def __init__(self, job: ComputeJob, submission: Submission) -> None:
        """Start with no attempt."""
        self.job = job
        self.submission = submission
        self.outcome: Outcome | None = None
        self.attempts = 0

    @property
    def max_attempts(self) -> int:
        """So many executions at most."""
        return self.submission.max_attempts(self.job)

    @property
    def logger(self) -> logging.Logger:
        """Of the recipe it comes from."""
        return self.submission.logger

    def run_message(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return header (but job and attempt) and payload of its `run` frame."""
        job, defaults = self.job, self.submission.defaults
        timeout_s = defaults.timeout_s if job.timeout_s is None else job.timeout_s
        task = {
            "words": job.command,
            "arguments": job.arguments,
            "cwd": job.cwd,
            "environment": {**defaults.environment, **job.environment},
            "outputs": list(job.outputs),
        }
        return {"k": "run", "script": job.is_script, "warm": job.warm, "timeout_s": timeout_s}, task


def _check_size(job: ComputeJob) -> None:
    # JSON may make 12 bytes of a character: only what could be too long is looked at closely.
    texts = [*job.arguments, *job.command, *job.environment, *job.environment.values(), *job.outputs]
    if sum(len(text) if isinstance(text, str) else len(json.dumps(text)) for text in texts) < _SURELY_FITS:
        return
    size = len(json.dumps(texts))
    if size > _MAX_TASK_BYTES:
        raise InputError(
            f"job {job.name!r}: its arguments and environment take {size >> 20} MiB; expected at most "
            f"{_MAX_TASK_BYTES >> 20} MiB; put them into a file on the host"
        )
