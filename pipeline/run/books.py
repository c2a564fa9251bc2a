"""What a run writes down as it goes: rows for the store, lines for the log, events for whoever watches."""

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pipeline.model.jobs import JobState, Outcome
from pipeline.run import events
from pipeline.run.batch import Batch
from pipeline.run.notices import JobEntry, Submission
from pipeline.run.outcomes import describe_failure, job_results
from pipeline.run.reach import Reach
from pipeline.run.store import RunStore

__all__ = ["Books"]

log = logging.getLogger(__name__)


class Books:
    """
    Kept by the dispatcher's thread; nothing here decides anything.

    Attributes:
        names: Job names by id, for the log.
        has_lost: Some job was lost or its host not reachable.
        left_behind: A line for each host where processes may be left.
    """

    def __init__(
        self, store: RunStore, reach: Reach, log_directory: Path, watch: Callable[[events.Event], None]
    ) -> None:
        """Begin with empty books; see `Dispatcher`."""
        self.names: dict[int, str] = {}
        self.has_lost = False
        self.left_behind: list[str] = []
        self._store = store
        self._reach = reach
        self._log_directory = log_directory
        self._watch = watch
        self._entries: dict[int, JobEntry] = {}

    def batches(self) -> set[Batch]:
        """Return all batches that were submitted."""
        return {entry.submission.batch for entry in self._entries.values()}

    def submitted(self, submission: Submission) -> None:
        """Enter new jobs."""
        jobs = submission.batch.jobs
        for job_id, job in jobs.items():
            self._entries[job_id] = JobEntry(job, submission)
            self.names[job_id] = job.name
        self._store.jobs_submitted((job_id, job, submission.step) for job_id, job in jobs.items())
        self._watch(events.JobsSubmitted(len(jobs), Counter(job.hosts[0] for job in jobs.values())))

    def dispatched(self, job_id: int, attempt: int, host: str) -> JobEntry:
        """An attempt goes to a host; returns what is known of its job."""
        entry = self._entries[job_id]
        entry.attempts = attempt
        how = self._reach.describe(host)
        line = "Dispatching command to %s with %s: job %d (%s)"
        _say(entry, logging.DEBUG, line, host, how, job_id, entry.job.name)
        self._store.dispatched(job_id, attempt, host)
        return entry

    def started(self, job_id: int, attempt: int, host: str, pid: int) -> None:
        """A host says that an attempt runs."""
        entry = self._entries[job_id]
        _say(entry, logging.INFO, "job %d (%s) on %s: started", job_id, entry.job.name, host)
        self._store.started(job_id, attempt, pid)
        self._watch(events.JobStarted(job_id, host))

    def ended(self, job_id: int, attempt: int, host: str, outcome: Outcome) -> None:
        """A host reported on an attempt."""
        entry = self._entries[job_id]
        entry.outcome = outcome
        self._store.ended(job_id, attempt, outcome)
        self._watch(events.JobEnded(job_id, host, outcome.state, outcome.duration_s))
        if outcome.survivors:
            self.left_behind.append(f"{host}: job {job_id} ({entry.job.name}): {outcome.message}")
        if outcome.left_behind:
            line = "job %d (%s) on %s: left %d processes running; they were ended"
            entry.logger.warning(line, job_id, entry.job.name, host, outcome.left_behind)

    def tried_again(self, job_id: int, attempt: int, host: str, outcome: Outcome) -> None:
        """A job that failed gets another attempt."""
        entry = self._entries[job_id]
        line = "job %d (%s) on %s: %s; it gets attempt %d of %d"
        entry.logger.warning(line, job_id, entry.job.name, host, outcome.message, attempt + 1, entry.max_attempts)

    def finished(self, job_id: int, state: JobState, host: str | None, reason: str) -> JobEntry:
        """A job is final: fill in its results and tell of it."""
        entry = self._entries[job_id]
        if entry.outcome is None or entry.outcome.state is not state:
            entry.outcome = Outcome(state, message=reason)
        outcome = entry.outcome
        self.has_lost |= state is JobState.LOST
        self._store.finished(job_id, state, outcome.message)
        entry.job.results.clear()
        entry.job.results.update(job_results(job_id, host, entry.attempts, outcome))
        if state is JobState.OK:
            line = "job %d (%s) on %s: ok after %.1f s"
            _say(entry, logging.INFO, line, job_id, entry.job.name, host, outcome.duration_s)
        else:
            has_run = entry.attempts and state is not JobState.REFUSED
            log_path = str(self._log_directory / f"{host}.log") if has_run else ""
            # What somebody asked for is no failure; Ctrl-C on 10^5 waiting jobs must not be as many lines.
            level = logging.INFO if state is JobState.CANCELLED else logging.ERROR
            entry.logger.log(level, "%s", describe_failure(job_id, entry.job, host, outcome.message, log_path))
        self._watch(events.JobFinished(job_id, host, state))
        return entry

    def host_changed(
        self, host: str, state: str, *, verdict: str = "", cores: int | None = None, python: str = ""
    ) -> None:
        """A host is in another state, for the reason `verdict`."""
        method = self._reach.way(host)
        self._store.host_changed(host, state, verdict=verdict, cores=cores, python=python, method=method)
        self._watch(events.HostChanged(host, state, verdict))

    def host_is_out(
        self, host: str, reason: str, retry_in_s: float | None, held: int = 0, held_for_s: float = 0.0
    ) -> None:
        """A host failed; it is tried again in `retry_in_s`, or not; it keeps `held` slots for lost attempts."""
        kept = f"{held} of its slots stay taken for up to {held_for_s:.0f} s, as what was lost may still run"
        if retry_in_s is None:
            self.host_changed(host, "DOWN", verdict=reason)
            if held:
                log.warning("%s: %s; %s", host, reason, kept)
            return
        self.host_changed(host, "WAITING", verdict=reason)
        log.warning("%s: %s; trying again in %.1f s%s", host, reason, retry_in_s, f"; {kept}" if held else "")


def _say(entry: JobEntry, level: int, line: str, *args: object) -> None:
    """Log a line that comes with every job; without what costs most of it, a search for the place in this file."""
    logger = entry.logger
    if logger.isEnabledFor(level):
        logger.handle(logger.makeRecord(logger.name, level, "", 0, line, args, None))
