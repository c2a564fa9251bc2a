"""
The dispatcher: performs what the schedule says. One per run, one thread; all others only put notices on its queue.

A round takes all notices that wait, feeds them to the schedule, writes what follows into the run store with one
commit, and only then acts: nothing is sent, acknowledged or told to a waiting recipe that is not committed.
"""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pipeline.errors import AgentError, PipelineError
from pipeline.model.jobs import ComputeJob, JobState, Outcome
from pipeline.run import events
from pipeline.run.batch import Batch
from pipeline.run.books import Books
from pipeline.run.connector import Connected, Connector, NotConnected
from pipeline.run.link import Link
from pipeline.run.log_writer import LogWriter
from pipeline.run.notices import Asked, JobDefaults, StopAsked, Submission
from pipeline.run.reach import Reach
from pipeline.run.reports import LinkEnded, LinkReports
from pipeline.run.store import RunStore
from pipeline.schedule import events as schedule
from pipeline.schedule.machine import Schedule

__all__ = ["Dispatcher"]

log = logging.getLogger(__name__)

_ENDED = "the run has been ended: it takes no more jobs"
_MAX_WAIT_S = 1.0
_COMMIT_WAIT_S = 0.1
_SIGNAL_WAIT_S = 0.2  # in short waits: a signal that comes just before one is handled after it, and may ask for hurry
_KILL_WAIT_S = 5.0  # after the grace: the agents kill, report and leave

Notice = Submission | Asked | StopAsked | Connected | NotConnected | LinkReports | LinkEnded


class Dispatcher:
    """
    One run's jobs on their hosts.

    One thread owns it; `submit`, `stop` and `begin_stop` may be called from any other.
    """

    def __init__(
        self,
        reach: Reach,
        store: RunStore,
        *,
        log_directory: Path,
        log_levels: dict[str, int],
        watch: Callable[[events.Event], None] = lambda event: None,
    ) -> None:
        """
        Start the dispatcher's thread.

        Args:
            log_levels: Level of captured lines, by `out` and `err`.
            watch: Told what happens, in the dispatcher's thread.
        """
        self._store = store
        self._books = Books(store, reach, log_directory, watch)
        self._notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self._logs = LogWriter(log_directory, self._books.names, log_levels)
        self._connector = Connector(reach, self._logs, self._notices.put)
        self._schedule = Schedule(reach.parameters, random.random)
        self._links: dict[str, Link] = {}
        self._spoken_to: set[Link] = set()  # their messages go out after the commit
        self._after_commit: list[Callable[[], None]] = []
        self._stop_at_s = float("inf")
        self._error: PipelineError | None = None
        self._submit_lock = threading.Lock()
        self._next_id = 1
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._thread.start()

    @property
    def has_lost(self) -> bool:
        """Some job was lost or its host not reachable."""
        return self._books.has_lost

    @property
    def left_behind(self) -> list[str]:
        """A line for each host where processes may be left; complete after `stop`."""
        return self._books.left_behind

    def submit(
        self,
        jobs: Sequence[ComputeJob],
        max_per_node: int | None,
        logger: logging.Logger,
        step: int,
        defaults: JobDefaults,
        error: threading.Event | None = None,
    ) -> Batch:
        """
        Take jobs and return their handle at once; callable from any thread.

        Args:
            max_per_node: Slots per host; None is the number of its cores, 0 no limit.
            logger: Of the recipe, for lines about its jobs.
            step: Which `_schedule_jobs` of the run it is, from 1; for the run store.
            error: Set as soon as a job of them has not ended well.

        Raises:
            InputError: If the arguments of a job are longer than a message to a host can be.
        """
        with self._submit_lock:
            first = self._next_id
            self._next_id += len(jobs)
        batch = Batch(dict(enumerate(jobs, first)), lambda job_ids: self._notices.put(Asked(job_ids)), error=error)
        self._notices.put(Submission(batch, max_per_node, logger, step, defaults))
        if self._error:  # the thread may have given up before it saw the batch
            batch.fail(self._error)
        return batch

    def stop(self, grace_s: float) -> None:
        """End all jobs (TERM, `grace_s`, KILL) and all agents; returns when they are gone or given up."""
        self._notices.put(StopAsked(grace_s))
        give_up_s = time.monotonic() + grace_s + 2 * _KILL_WAIT_S
        while self._thread.is_alive() and time.monotonic() < give_up_s:
            self._thread.join(_SIGNAL_WAIT_S)
        self._connector.close()
        self._clear_notices(PipelineError(_ENDED))
        for link in list(self._links.values()):
            self.left_behind.append(f"{link.host}: no answer to stop; its agent ends its jobs when it notices")
            link.close()
        self._logs.close()

    def begin_stop(self, grace_s: float) -> None:
        """Ask for what `stop` does, or for a shorter grace of it; callable from a signal handler."""
        self._notices.put(StopAsked(grace_s))

    # -- the dispatcher's thread

    def _run(self) -> None:
        try:
            while not self._is_over():
                self._round(self._wait_for_notices())
            self._take_no_more(PipelineError(_ENDED))
        except PipelineError as error:
            self._give_up(error)
        except Exception as error:  # nobody may wait for ever
            log.debug("dispatcher", exc_info=True)
            self._give_up(PipelineError(f"the dispatcher failed: {type(error).__name__}: {error}"))

    def _is_over(self) -> bool:
        return self._is_stopping and (not self._links or time.monotonic() > self._stop_at_s)

    def _wait_for_notices(self) -> list[Notice]:
        wait_s = _COMMIT_WAIT_S if self._store.has_changes else _MAX_WAIT_S
        deadline_s = min(self._schedule.deadline_s, time.monotonic() + wait_s)
        try:
            notices = [self._notices.get(timeout=max(0.001, deadline_s - time.monotonic()))]
        except queue.Empty:
            return []
        while not self._notices.empty():
            notices.append(self._notices.get_nowait())
        return notices

    def _round(self, notices: list[Notice]) -> None:
        for notice in notices:
            self._TAKE[type(notice)](self, notice)
        if self._schedule.deadline_s <= time.monotonic():
            self._tell(schedule.TimePassed())
        if notices and not (self._after_commit or self._spoken_to):
            return  # nothing follows from what has changed, that jobs run: it waits for the next commit
        self._store.commit()
        links, self._spoken_to = self._spoken_to, set()
        for link in links:
            link.flush()
        actions, self._after_commit = self._after_commit, []
        for action in actions:
            action()

    def _give_up(self, error: PipelineError) -> None:
        """The run cannot go on: end the sessions, which ends the jobs."""
        for link in list(self._links.values()):
            link.close()
        self._links.clear()
        self._take_no_more(error)

    def _take_no_more(self, error: PipelineError) -> None:
        """Tell everybody who still waits, or will submit, why nothing more happens."""
        self._error = error
        for batch in self._books.batches():
            batch.fail(error)
        self._clear_notices(error)

    def _clear_notices(self, error: PipelineError) -> None:
        """Answer what nobody takes any more."""
        while not self._notices.empty():
            notice = self._notices.get_nowait()
            if isinstance(notice, Submission):
                notice.batch.fail(error)
            elif isinstance(notice, Connected):
                notice.link.close()

    # -- notices

    def _take_submission(self, submission: Submission) -> None:
        if self._is_stopping:
            submission.batch.fail(PipelineError(_ENDED))
            return
        self._books.submitted(submission)
        self._tell(schedule.Submitted(tuple(submission.plans())))

    def _take_asked(self, asked: Asked) -> None:
        self._tell(schedule.CancelAsked(asked.job_ids))

    def _take_stop(self, asked: StopAsked) -> None:
        self._stop_at_s = min(self._stop_at_s, time.monotonic() + asked.grace_s + _KILL_WAIT_S)
        for link in self._links.values():
            self._to(link.host).queue({"k": "stop", "grace_s": asked.grace_s})
        self._tell(schedule.CancelAsked())

    def _take_connected(self, connected: Connected) -> None:
        link = connected.link
        if self._is_stopping:
            link.close()
            return
        if link.end:  # before we heard that it began
            reason, is_permanent = link.end.reason or "the agent ended at once", link.end.is_permanent
            self._take_not_connected(NotConnected(AgentError(link.host, reason, is_permanent=is_permanent)))
            return
        self._links[link.host] = link
        self._books.host_changed(link.host, "UP", cores=link.hello["cores"], python=link.hello["python"])
        self._tell(schedule.HostUp(link.host, link.hello["cores"]))

    def _take_not_connected(self, failed: NotConnected) -> None:
        error = failed.error
        self._tell(schedule.HostFailed(error.host, error.reason, error.is_permanent))
        self._books.host_is_out(error.host, error.reason, self._retry_in_s(error.host))

    def _take_link_ended(self, ended: LinkEnded) -> None:
        host = ended.link.host
        if self._links.get(host) is not ended.link:
            return
        del self._links[host]
        reason = ended.reason or "the agent left"
        self._tell(schedule.HostLost(host, reason, ended.is_permanent))
        if not self._is_stopping:
            held, free_at_s = self._schedule.held_slots(host)
            self._books.host_is_out(host, reason, self._retry_in_s(host), held, free_at_s - time.monotonic())
            return
        self._books.host_changed(host, "CLOSED", verdict=ended.reason)
        if ended.reason:
            self.left_behind.append(f"{host}: {reason}; its agent ends its jobs when it notices")

    def _take_reports(self, notice: LinkReports) -> None:
        link = notice.link
        if self._links.get(link.host) is not link:
            return
        # The link lets nothing pass that was not given to its host.
        for job_id, attempt, pid, outcome in notice.reports:
            if outcome is None:
                self._books.started(job_id, attempt, link.host, pid)
                self._tell(schedule.AttemptStarted(job_id, attempt, link.host))
            else:
                self._take_outcome(job_id, attempt, link.host, outcome)
        if notice.seq:
            self._to(link.host).queue({"k": "ack", "seq": notice.seq})

    def _take_outcome(self, job_id: int, attempt: int, host: str, outcome: Outcome) -> None:
        self._books.ended(job_id, attempt, host, outcome)
        self._tell(schedule.AttemptEnded(job_id, attempt, host, outcome.state, outcome.message))
        if not self._schedule.state(job_id).is_final:
            self._books.tried_again(job_id, attempt, host, outcome)

    _TAKE: dict[type[Notice], Callable[..., None]] = {  # noqa: RUF012  # never changed
        Submission: _take_submission,
        Asked: _take_asked,
        StopAsked: _take_stop,
        Connected: _take_connected,
        NotConnected: _take_not_connected,
        LinkEnded: _take_link_ended,
        LinkReports: _take_reports,
    }

    # -- instructions

    def _tell(self, event: schedule.Event) -> None:
        """Feed the schedule and perform what it says; what goes out waits for the commit."""
        for instruction in self._schedule.handle(event, time.monotonic()):
            match instruction:
                case schedule.Connect(host):
                    self._books.host_changed(host, "CONNECTING")
                    self._after_commit.append(partial(self._connector.connect, host))
                case schedule.Start(job_id, attempt, host):
                    entry = self._books.dispatched(job_id, attempt, host)
                    self._to(host).queue_run(job_id, attempt, *entry.run_message())
                case schedule.Cancel(job_id, attempt, host):
                    self._to(host).queue({"k": "cancel", "job": job_id, "attempt": attempt})
                case schedule.Finished(job_id, state, last_host, reason):
                    submission = self._books.finished(job_id, state, last_host, reason).submission
                    self._after_commit.append(partial(submission.batch.finish, job_id))
                    if submission.defaults.stops_on_failure and state not in (JobState.OK, JobState.CANCELLED):
                        self._after_commit.append(submission.batch.cancel)

    def _to(self, host: str) -> Link:
        """Return the link to a host that is up; what is queued there goes out after the commit."""
        link = self._links[host]
        self._spoken_to.add(link)
        return link

    def _retry_in_s(self, host: str) -> float | None:
        at_s = self._schedule.retry_at_s(host)
        return None if at_s is None else at_s - time.monotonic()

    @property
    def _is_stopping(self) -> bool:
        return self._stop_at_s != float("inf")
