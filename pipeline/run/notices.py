"""What recipes ask of the dispatcher, and what it keeps of each job."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.model.jobs import ComputeJob, Outcome
from pipeline.run.batch import Batch

__all__ = ["Asked", "JobDefaults", "JobEntry", "StopAsked", "Submission"]


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
        """See `Dispatcher.submit`."""
        self.batch = batch
        self.defaults = defaults
        self.max_per_node = max_per_node
        self.logger = logger
        self.step = step


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
        outcome: Of its last attempt that ended.
        mark: (host, count) up to which the log server must be for all that it wrote to be in the log.
    """

    __slots__ = ("attempts", "job", "mark", "outcome", "submission")

    def __init__(self, job: ComputeJob, submission: Submission) -> None:
        """Start with no attempt."""
        self.job = job
        self.submission = submission
        self.outcome: Outcome | None = None
        self.attempts = 0
        self.mark: tuple[str, int] | None = None

    @property
    def max_attempts(self) -> int:
        """1 + the retries of the job, or else of the configuration."""
        return 1 + (self.submission.defaults.retries if self.job.retries is None else self.job.retries)

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
        return {"k": "run", "script": job.is_script, "timeout_s": timeout_s}, task
