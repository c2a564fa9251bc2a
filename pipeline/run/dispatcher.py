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
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import FrameError, PipelineError
from pipeline.model.jobs import ComputeJob, JobState, Outcome
from pipeline.run import events
from pipeline.run.batch import Batch
from pipeline.run.connector import Connected, Connector, NotConnected
from pipeline.run.link import Link, LinkEnded, LinkMessage
from pipeline.run.log_server import LogServer
from pipeline.run.notices import Asked, JobDefaults, JobEntry, StopAsked, Submission
from pipeline.run.outcomes import describe_failure, job_results, read_outcome
from pipeline.run.reach import Reach
from pipeline.run.store import RunStore
from pipeline.schedule import events as schedule
from pipeline.schedule.machine import Schedule

if TYPE_CHECKING:
    from pipeline.run.log_gate import LogGate

__all__ = ["Dispatcher"]

log = logging.getLogger(__name__)

_MAX_WAIT_S = 1.0
_KILL_WAIT_S = 5.0  # after the grace: the agents kill, report and leave

Notice = Submission | Asked | StopAsked | Connected | NotConnected | LinkMessage | LinkEnded


class Dispatcher:
    """
    One run's jobs on their hosts.

    Attributes:
        names: Job names by id, for the log server.
        has_lost: Some job was lost or its host not reachable.
        left_behind: A line for each host where processes may be left.
    """

    def __init__(
        self,
        reach: Reach,
        store: RunStore,
        *,
        log_directory: Path,
        log_levels: dict[str, int],
        log_gate: "LogGate | None" = None,
        watch: Callable[[events.Event], None] = lambda event: None,
    ) -> None:
        """
        Start the dispatcher's thread and the log server.

        Args:
            log_levels: Level of captured lines, by `out` and `err`.
            log_gate: The log server's TCP gate, if there is to be one.
            watch: Told what happens, in the dispatcher's thread.
        """
        self.names: dict[int, str] = {}
        self.has_lost = False
        self.left_behind: list[str] = []
        self._reach = reach
        self._store = store
        self._log_directory = log_directory
        self._watch = watch
        self._notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self._log_server = LogServer(log_directory, self.names, log_levels, log_gate)
        self._connector = Connector(reach, self._log_server, self._notices.put)
        self._schedule = Schedule(reach.parameters, random.random)
        self._jobs: dict[int, JobEntry] = {}
        self._links: dict[str, Link] = {}
        self._connecting: set[str] = set()
        self._after_commit: list[Callable[[], None]] = []
        self._stop_at_s = float("inf")
        self._error: PipelineError | None = None
        self._submit_lock = threading.Lock()
        self._next_id = 1
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._thread.start()

    def submit(
        self,
        jobs: Sequence[ComputeJob],
        max_per_node: int | None,
        logger: logging.Logger,
        step: int,
        defaults: JobDefaults,
    ) -> Batch:
        """
        Take jobs and return their handle at once; callable from any thread.

        Args:
            max_per_node: Slots per host; None is the number of its cores, 0 no limit.
            logger: Of the recipe, for lines about its jobs.
            step: Which `_schedule_jobs` of the run it is, from 1; for the run store.
        """
        with self._submit_lock:
            first = self._next_id
            self._next_id += len(jobs)
        batch = Batch(dict(enumerate(jobs, first)), lambda job_ids: self._notices.put(Asked(job_ids)))
        self._notices.put(Submission(batch, max_per_node, logger, step, defaults))
        if self._error:  # the thread may have given up before it saw the batch
            batch.fail(self._error)
        return batch

    def wait_for_log(self, batch: Batch, timeout_s: float = 10.0) -> None:
        """Wait until all that the batch's finished jobs wrote is in the log."""
        marks: Counter[str] = Counter()
        for job_id in batch.jobs:
            entry = self._jobs.get(job_id)
            if entry and entry.mark:
                host, count = entry.mark
                marks[host] = max(marks[host], count)
        deadline_s = time.monotonic() + timeout_s
        for host, count in marks.items():
            self._log_server.wait_for(host, count, max(0.0, deadline_s - time.monotonic()))

    def stop(self, grace_s: float) -> None:
        """End all jobs (TERM, `grace_s`, KILL) and all agents; returns when they are gone or given up."""
        self._notices.put(StopAsked(grace_s))
        self._thread.join(grace_s + 2 * _KILL_WAIT_S)
        for link in list(self._links.values()):
            self.left_behind.append(f"{link.host}: no answer to stop; its agent ends its jobs when it notices")
            link.close()
        self._log_server.close()

    def hurry(self, grace_s: float) -> None:
        """Shorten the grace of a `stop` under way; callable from a signal handler."""
        self._notices.put(StopAsked(grace_s))

    # -- the dispatcher's thread

    def _run(self) -> None:
        try:
            while not self._is_over():
                self._round(self._wait_for_notices())
        except PipelineError as error:
            self._give_up(error)
        except Exception as error:  # nobody may wait for ever
            log.debug("dispatcher", exc_info=True)
            self._give_up(PipelineError(f"the dispatcher failed: {type(error).__name__}: {error}"))

    def _is_over(self) -> bool:
        if self._stop_at_s == float("inf"):
            return False
        return not self._links or time.monotonic() > self._stop_at_s

    def _wait_for_notices(self) -> list[Notice]:
        deadline_s = min(self._schedule.deadline_s, time.monotonic() + _MAX_WAIT_S)
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
        self._store.commit()
        actions, self._after_commit = self._after_commit, []
        for action in actions:
            action()

    def _give_up(self, error: PipelineError) -> None:
        """The run cannot go on: end the sessions, which ends the jobs, and tell everybody who waits."""
        self._error = error
        for link in list(self._links.values()):
            link.close()
        self._links.clear()
        for entry in list(self._jobs.values()):
            entry.submission.batch.fail(error)
        while not self._notices.empty():
            notice = self._notices.get_nowait()
            if isinstance(notice, Submission):
                notice.batch.fail(error)

    # -- notices

    def _take_submission(self, submission: Submission) -> None:
        plans, rows = [], []
        for job_id, job in submission.batch.jobs.items():
            self._jobs[job_id] = entry = JobEntry(job, submission)
            self.names[job_id] = job.name
            rows.append((job_id, job, submission.step))
            limit = submission.max_per_node
            plans.append(schedule.JobPlan(job_id, job.hosts, limit, job.cores, entry.max_attempts))
        self._store.jobs_submitted(rows)
        self._watch(events.JobsSubmitted(len(plans), Counter(plan.hosts[0] for plan in plans)))
        self._tell(schedule.Submitted(tuple(plans)))

    def _take_asked(self, asked: Asked) -> None:
        self._tell(schedule.CancelAsked(asked.job_ids))

    def _take_stop(self, asked: StopAsked) -> None:
        self._stop_at_s = min(self._stop_at_s, time.monotonic() + asked.grace_s + _KILL_WAIT_S)
        for link in self._links.values():
            self._after_commit.append(partial(link.send, {"k": "stop", "grace_s": asked.grace_s}))
        self._tell(schedule.CancelAsked())

    def _take_connected(self, connected: Connected) -> None:
        link = connected.link
        self._connecting.discard(link.host)
        if self._stop_at_s != float("inf"):
            link.close()
            return
        self._links[link.host] = link
        cores, python = int(link.hello["cores"]), str(link.hello["python"])
        self._host_changed(link.host, "UP", cores=cores, python=python)
        self._tell(schedule.HostUp(link.host, cores))

    def _take_not_connected(self, failed: NotConnected) -> None:
        error = failed.error
        self._connecting.discard(error.host)
        self._tell(schedule.HostFailed(error.host, error.reason, error.is_permanent))
        self._host_is_out(error.host, error.reason)

    def _take_link_ended(self, ended: LinkEnded) -> None:
        host = ended.link.host
        if self._links.get(host) is not ended.link:
            return
        del self._links[host]
        reason = ended.reason or "the agent left"
        is_stopping = self._stop_at_s != float("inf")
        if is_stopping and ended.reason:
            self.left_behind.append(f"{host}: {reason}; its agent ends its jobs when it notices")
        self._tell(schedule.HostLost(host, reason))
        if is_stopping:
            self._host_changed(host, "CLOSED", verdict=ended.reason)
        else:
            self._host_is_out(host, reason)

    def _take_message(self, message: LinkMessage) -> None:
        header, link = message.header, message.link
        if self._links.get(link.host) is not link:
            return
        if header["k"] == "start":
            self._store.started(header["job"], header["attempt"], header["pid"])
            self._tell(schedule.AttemptStarted(header["job"], header["attempt"], link.host))
            self._watch(events.JobStarted(header["job"], link.host))
            return
        try:
            outcome = read_outcome(header, message.payload)
        except FrameError as error:
            link.close()
            log.error("%s: %s", link.host, error)
            return
        self._take_result(message, outcome)
        self._after_commit.append(partial(link.send, {"k": "ack", "seq": header["seq"]}))

    def _take_result(self, message: LinkMessage, outcome: Outcome) -> None:
        job_id, attempt, host = message.header["job"], message.header["attempt"], message.link.host
        entry = self._jobs[job_id]  # the link lets nothing pass that was not given to its host
        entry.outcome, entry.attempts, entry.mark = outcome, attempt, (host, message.logged)
        self.left_behind += [f"{host}: {outcome.message}"] if message.header.get("survivors") else []
        if message.header.get("left_behind"):
            entry.submission.logger.warning(
                "job %d (%s) on %s: left %d processes running; they were ended",
                job_id, entry.job.name, host, message.header["left_behind"],
            )  # fmt: skip
        self._store.ended(job_id, attempt, outcome)
        self._watch(events.JobEnded(job_id, host, outcome.state, outcome.duration_s))
        self._tell(schedule.AttemptEnded(job_id, attempt, host, outcome.state, outcome.message))
        if not self._schedule.state(job_id).is_final:
            line = "job %d (%s) on %s: %s; it gets attempt %d of %d"
            told = job_id, entry.job.name, host, outcome.message, attempt + 1, entry.max_attempts
            entry.submission.logger.warning(line, *told)

    _TAKE: dict[type[Notice], Callable[..., None]] = {  # noqa: RUF012  # never changed
        Submission: _take_submission,
        Asked: _take_asked,
        StopAsked: _take_stop,
        Connected: _take_connected,
        NotConnected: _take_not_connected,
        LinkEnded: _take_link_ended,
        LinkMessage: _take_message,
    }

    # -- instructions

    def _tell(self, event: schedule.Event) -> None:
        """Feed the schedule and perform what it says; what goes out waits for the commit."""
        for instruction in self._schedule.handle(event, time.monotonic()):
            match instruction:
                case schedule.Connect(host):
                    self._connecting.add(host)
                    self._host_changed(host, "CONNECTING")
                    self._after_commit.append(partial(self._connector.connect, host))
                case schedule.Start(job_id, attempt, host):
                    self._start(job_id, attempt, host)
                case schedule.Cancel(job_id, attempt, host):
                    header = {"k": "cancel", "job": job_id, "attempt": attempt}
                    self._after_commit.append(partial(self._links[host].send, header))
                case schedule.Finished():
                    self._finish(instruction)

    def _start(self, job_id: int, attempt: int, host: str) -> None:
        entry = self._jobs[job_id]
        how = self._reach.describe(host)
        entry.submission.logger.debug(
            "Dispatching command to %s with %s: job %d (%s)", host, how, job_id, entry.job.name
        )
        self._store.dispatched(job_id, attempt, host)
        self._after_commit.append(partial(self._links[host].run, job_id, attempt, *entry.run_message()))

    def _finish(self, finished: schedule.Finished) -> None:
        job_id, state, host = finished.job_id, finished.state, finished.host
        entry = self._jobs[job_id]
        if entry.outcome is None or entry.outcome.state is not state:
            entry.outcome = Outcome(state, message=finished.reason)
        if state is JobState.LOST:
            self.has_lost = True
        self._store.finished(job_id, state, entry.outcome.message)
        entry.job.results.clear()
        entry.job.results.update(job_results(job_id, host, entry.attempts, entry.outcome))
        if state is JobState.OK:
            entry.submission.logger.info(
                "job %d (%s) on %s: ok after %.1f s", job_id, entry.job.name, host, entry.outcome.duration_s
            )
        else:
            log_path = str(self._log_directory / f"{host}.log") if entry.attempts else ""
            entry.submission.logger.error(
                "%s", describe_failure(job_id, entry.job, host, entry.outcome.message, log_path)
            )
        self._watch(events.JobFinished(job_id, host, state))
        self._after_commit.append(partial(entry.submission.batch.finish, job_id))
        if entry.submission.defaults.stops_on_failure and state not in (JobState.OK, JobState.CANCELLED):
            self._after_commit.append(entry.submission.batch.cancel)

    def _host_is_out(self, host: str, reason: str) -> None:
        """Tell of a host that failed: whether it is tried again."""
        retry_at_s = self._schedule.retry_at_s(host)
        if retry_at_s is None:
            self._host_changed(host, "DOWN", verdict=reason)
            return
        self._host_changed(host, "WAITING", verdict=reason)
        log.warning("%s: %s; trying again in %.1f s", host, reason, retry_at_s - time.monotonic())

    def _host_changed(
        self, host: str, state: str, *, verdict: str = "", cores: int | None = None, python: str = ""
    ) -> None:
        self._store.host_changed(host, state, verdict=verdict, cores=cores, python=python, method=self._reach.way(host))
        self._watch(events.HostChanged(host, state, verdict))
