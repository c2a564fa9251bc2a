"""The handle of submitted jobs: wait for them, iterate over them as they complete, cancel them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from pipeline.errors import PipelineError
from pipeline.model.jobs import ComputeJob, JobState

__all__ = ["Batch"]

_WAIT_S = 0.5  # so that a signal is seen in the waiting thread


class Batch:
    """
    Jobs submitted together. Iterating gives each job once, as it becomes final.

    Attributes:
        jobs: By job id, in the order submitted.
    """

    def __init__(
        self,
        jobs: Mapping[int, ComputeJob],
        cancel: Callable[[frozenset[int]], None],
        *,
        error: threading.Event | None = None,
        is_done: bool = False,
    ) -> None:
        """Start with no job final (a dry run: with all); `cancel` asks the dispatcher, a failed job sets `error`."""
        self.jobs = dict(jobs)
        self._cancel = cancel
        self._failed = error or threading.Event()
        # Two conditions of one lock: each final job wakes who iterates, only the last one who waits for all.
        lock = threading.RLock()
        self._changed, self._over = threading.Condition(lock), threading.Condition(lock)
        self._done: deque[ComputeJob] = deque(self.jobs.values() if is_done else ())
        self._waiting = set() if is_done else set(self.jobs)
        self._error: PipelineError | None = None

    def __iter__(self) -> Iterator[ComputeJob]:
        """Wait for the next job to be final, until all have been."""
        while True:
            with self._changed:
                while not self._done and self._waiting and not self._error:
                    self._changed.wait(_WAIT_S)
                if not self._done:
                    break
                job = self._done.popleft()
            yield job
        self._raise_error()

    def wait(self, timeout_s: float | None = None) -> dict[int, ComputeJob]:
        """
        Wait until all jobs are final and return them by id.

        Raises:
            TimeoutError: If they are not in `timeout_s`; they go on.
            PipelineError: If the run cannot go on, for example because its store cannot be written.
        """
        deadline_s = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        with self._over:
            while self._waiting and not self._error:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError(f"{len(self._waiting)} of {len(self.jobs)} jobs not final after {timeout_s} s")
                self._over.wait(min(left_s, _WAIT_S))
        self._raise_error()
        return self.jobs

    def cancel(self) -> None:
        """End those that run and drop those that wait; they become CANCELLED one by one."""
        self._cancel(frozenset(self.jobs))

    def finish(self, job_id: int) -> None:
        """Note a final job; called by the dispatcher."""
        if self.jobs[job_id].results.get("status") != JobState.OK.value:
            self._failed.set()
        with self._changed:
            self._waiting.discard(job_id)
            self._done.append(self.jobs[job_id])
            self._changed.notify_all()
            if not self._waiting:
                self._over.notify_all()

    def fail(self, error: PipelineError) -> None:
        """Let everybody who waits know that the run cannot go on; called by the dispatcher."""
        with self._changed:
            if self._waiting:
                self._error = error
            self._changed.notify_all()
            self._over.notify_all()

    def _raise_error(self) -> None:
        if self._error:
            raise self._error
