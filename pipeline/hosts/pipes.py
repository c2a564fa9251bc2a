"""A program on this machine that is spoken to through pipes: the agent itself, or an ssh client."""

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

from pipeline.errors import HostError
from pipeline.hosts.verdicts import one_line

__all__ = ["PipeSession"]

TAIL_BYTES = 2048
_CHUNK_BYTES = 1 << 16
# close(): the program may end by itself, then TERM, then KILL; each waits so long at most.
_END_S = 1.0
_CLOSED = select.POLLHUP | select.POLLERR | select.POLLNVAL


class PipeSession:
    """A `Session` over stdin, stdout and stderr of a child process."""

    def __init__(self, host: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """
        Start `argv`, without a shell and out of reach of our terminal's signals.

        Raises:
            HostError: If it cannot be started.
        """
        self.host = host
        self._program = os.path.basename(argv[0])
        try:
            self._process = subprocess.Popen(
                argv,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for us to handle; close() ends the whole group
                env=environment,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in a word
            raise self._not_started(argv[0], error) from error
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._stdin, self._stdout, self._stderr = (_non_blocking(pipe) for pipe in pipes)
        self._wake_read, self._wake_write = os.pipe()  # its end of file wakes whoever waits when close() is called
        self._reading, self._writing, self._noting = threading.Lock(), threading.Lock(), threading.Lock()
        self._closing = threading.Lock()
        self._is_closed = False
        self._has_stderr = True
        self._has_output = False
        self._tail = b""

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """See `Session`."""
        deadline_s = time.monotonic() + timeout_s
        with self._reading:
            while True:
                self._check_open()  # before the number of a closed pipe is used
                self._wait(self._stdout.fileno(), select.POLLIN, deadline_s)
                try:
                    data = os.read(self._stdout.fileno(), max_bytes)
                except BlockingIOError:
                    continue
                self._has_output = self._has_output or bool(data)
                if not data:
                    self._check_end()
                return data

    def write(self, data: bytes, timeout_s: float) -> None:
        """See `Session`."""
        left = memoryview(data)
        with self._writing:
            while left:
                if self._stdin.closed:
                    raise HostError(self.host, f"the input of {self._program} is closed")
                self._wait(self._stdin.fileno(), select.POLLOUT, time.monotonic() + timeout_s)
                try:
                    left = left[os.write(self._stdin.fileno(), left) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    raise self._broken_pipe() from None

    def write_now(self, data: bytes) -> int:
        """See `Session`."""
        if not self._writing.acquire(blocking=False):
            return 0
        try:
            return os.write(self._stdin.fileno(), data)
        except (OSError, ValueError):  # full, broken or closed
            return 0
        finally:
            self._writing.release()

    def close_input(self) -> None:
        """See `Session`."""
        with self._writing:
            self._stdin.close()

    def close(self) -> None:
        """See `Session`; takes 3 s at most, if the program ends neither by itself nor when told to."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            os.close(self._wake_write)
            self.close_input()
            self._end_process()
            with self._reading, self._noting:
                for pipe in (self._stdout, self._stderr):
                    pipe.close()
                self._has_stderr = False
                os.close(self._wake_read)

    def last_words(self) -> str:
        """See `Session`."""
        self._note_stderr()
        return one_line(self._tail.decode("utf-8", "replace"))

    def _not_started(self, program: str, error: OSError | ValueError) -> HostError:
        problem = error.strerror if isinstance(error, OSError) else str(error)
        return HostError(self.host, f"cannot start {program}: {problem}", is_permanent=True)

    def _error_at_end(self, status: int | None) -> HostError | None:
        """Return what the end of the output means, given the exit status (None: still running); None is no error."""
        return None

    def _check_end(self) -> None:
        error = self._error_at_end(self._wait_for_status())
        if error is not None:
            raise error

    def _broken_pipe(self) -> HostError:
        status = self._wait_for_status()
        ended = f"{self._program} takes no more input" + ("" if status is None else f", it ended with status {status}")
        words = self.last_words()
        return self._error_at_end(status) or HostError(self.host, f"{ended}: {words}" if words else ended)

    def _wait(self, pipe: int, event: int, deadline_s: float) -> None:
        """Return when `pipe` can be read or written, keeping stderr empty meanwhile."""
        while True:
            poll = select.poll()
            poll.register(self._wake_read, select.POLLIN)
            poll.register(pipe, event)
            if self._has_stderr:
                poll.register(self._stderr.fileno(), select.POLLIN)
            left_s = max(0.0, deadline_s - time.monotonic())
            ready = dict(poll.poll(left_s * 1000))
            self._check_open()
            if ready.keys() - {pipe}:
                self._note_stderr()
            if ready.get(pipe, 0) & (event | _CLOSED):
                return
            if time.monotonic() >= deadline_s:
                raise TimeoutError(f"{self.host}: nothing moved in time")

    def _check_open(self) -> None:
        if self._is_closed:
            raise HostError(self.host, "the session has been closed")

    def _note_stderr(self) -> None:
        """Keep the end of what has arrived on stderr; a full pipe would stop the program."""
        with self._noting:
            if not self._has_stderr:
                return
            with suppress(BlockingIOError):
                data = os.read(self._stderr.fileno(), _CHUNK_BYTES)
                self._has_stderr = bool(data)
                self._tail = (self._tail + data)[-TAIL_BYTES:]

    def _wait_for_status(self) -> int | None:
        """Return the exit status; None if the program has closed its output but lives on."""
        try:
            status = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return None
        self._note_stderr()
        return status

    def _end_process(self) -> None:
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number == signal.SIGTERM:
                self._process.terminate()
            elif number == signal.SIGKILL and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)  # not reaped yet: the number is still its own
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
                return


def _non_blocking(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    os.set_blocking(pipe.fileno(), False)
    return pipe
