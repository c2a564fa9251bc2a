"""One attempt of a job on this host: started, its output read, ended, reported."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import time
from typing import Any, Callable, Iterator

from pipeline.node import CHANNEL, MARK, PER_JOB
from pipeline.node.arguments import ARGUMENTS_FILE, fits_argv, write_arguments
from pipeline.node.processes import tree_of_job
from pipeline.node.spawn import spawn
from pipeline.node.told import Told

__all__ = ["Attempt", "Refused"]

_READ_BYTES = 64 << 10
_RECEIVE_BYTES = 256 << 10  # more than the system takes as one packet: what is not read of a packet is lost
_TAIL_BYTES = 4 << 10
_MAX_TOLD = 3  # missing files that are named in a result, and
_MAX_TOLD_CHARS = 1000  # so much of their names: a header has 64 KiB


class Refused(Exception):
    """The attempt cannot be started; the message says why."""


class Attempt:
    """
    A running attempt.

    Attributes:
        pid: Leader of the job's own session and process group; 0 before it has started.
        pipes: Kind of output (out, err, log) by file descriptor, as long as it is open.
        deadline_s: When its time is up, in monotonic seconds.
    """

    def __init__(self, header: dict[str, Any], task: dict[str, Any], mark: str, directory: str, python: str) -> None:
        """
        Describe an attempt without starting it.

        Args:
            header: Of the run frame: job, attempt, script, timeout_s.
            task: Its payload: words, arguments, cwd, environment (whole), outputs.
            mark: Unique to this attempt in the agent's life.
            directory: The agent's private one.
            python: What a leading `python` stands for.
        """
        self.job: int = header["job"]
        self.number: int = header["attempt"]
        self._timeout_s: float | None = header.get("timeout_s")
        self.is_script: bool = header["script"]
        self._is_warm_wanted = header.get("warm", True) is True
        self.task = task
        self.mark = mark
        self.pipes: dict[int, str] = {}
        self.pid = 0
        self.started_s = 0.0
        self.deadline_s = float("inf")
        self.ended_s: float | None = None
        self.status = 0
        self.used = (0.0, 0.0, 0)  # seconds in its own code, in the system's, most memory (in the unit of getrusage(2))
        self.is_warm = False
        self.verdict = ""  # TIMEOUT or CANCELLED, if it was ended by us
        self.error = b""  # why it failed, where we know better
        self.left_behind = 0
        self._tails = {"out": b"", "err": b""}
        self._told = Told()
        self._seen: set[int] = set()  # its processes, as far as they have been looked for
        self._arguments_path = f"{directory}/arguments-{self.job}-{self.number}"
        self._has_arguments_file = False
        self._python = python

    @property
    def may_be_warm(self) -> bool:
        """It is a script for our interpreter, and nobody has said that it must not be forked."""
        words = self.task["words"]
        is_plain = len(words) > 1 and words[0] == "python" and not words[1].startswith("-")
        return self.is_script and is_plain and self._is_warm_wanted

    def start(self) -> None:
        """
        Start the process in a session of its own, never through a shell.

        Raises:
            Refused: If it cannot be started; nothing is left behind.
        """
        theirs: list[int] = []
        try:
            self._open_pipes(theirs)
            environment = {**self.task["environment"], MARK: self.mark}
            words = self._words(environment, theirs[2] if self.is_script else -1)
            self._start_clock()
            self.pid = spawn(words, environment, self.task["cwd"], theirs)
        except (Refused, OSError, ValueError, TypeError) as error:
            self.forget()
            raise error if isinstance(error, Refused) else Refused(_why_not_started(error, self.task)) from None
        finally:
            _close(theirs)
        self.is_warm = False

    def offer(self, ask: Callable[[dict[str, Any], list[int]], bool]) -> bool:
        """
        Let a warm process start it: the script's words and descriptors go to `ask`, which says whether they were taken.

        Raises:
            Refused: If there is no such script.
        """
        environment = {name: self.task["environment"][name] for name in PER_JOB if name in self.task["environment"]}
        theirs: list[int] = []
        try:
            self._open_pipes(theirs)
            words = self._words(environment, theirs[2])
            if len(words) > 1 and words[1] == self.task["words"][1]:  # else it is a program of ours that starts it
                environment[MARK] = self.mark
                self._start_clock()
                request = {"argv": words[1:], "environment": environment, "channel": theirs[2]}
                self.is_warm = ask(request, theirs)
        except OSError as error:
            raise Refused(_why_not_started(error, self.task)) from None
        finally:
            _close(theirs)
            if not self.is_warm:
                self.forget()
        return self.is_warm

    def read(self, descriptor: int, max_bytes: int = _READ_BYTES) -> Iterator[tuple[str, bytes]]:
        """
        Read what one pipe holds; yields (kind, data) to pass on, and forgets the pipe at its end.

        It stops at the first read that reaches `max_bytes`: others want to be heard, too.

        Raises:
            FrameError: If the script's channel carries something else than frames.
        """
        kind = self.pipes[descriptor]
        left = max_bytes
        while left > 0:
            try:
                data = os.read(descriptor, _RECEIVE_BYTES if kind == "log" else _READ_BYTES)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                self.close_pipe(descriptor)
                return
            left -= len(data)
            if kind == "log":
                yield from self._told.feed(data)
            else:
                self._tails[kind] = (self._tails[kind] + data)[-_TAIL_BYTES:]
                yield kind, data

    def close_pipe(self, descriptor: int) -> None:
        """Close our end of one of its pipes."""
        del self.pipes[descriptor]
        os.close(descriptor)

    def processes(self, not_its: set[int], *, is_only: bool) -> set[int]:
        """Return the pids of all that the attempt started and that still lives; see `tree_of_job`."""
        mark = b"%s=%s\0" % (MARK.encode(), self.mark.encode())
        found = tree_of_job(self.pid, mark, not_its, self._seen, is_only=is_only)
        self._seen |= found
        return found

    def forget(self) -> None:
        """Close and remove everything it had in the agent."""
        for descriptor in list(self.pipes):
            self.close_pipe(descriptor)
        if self._has_arguments_file:
            self._has_arguments_file = False
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._arguments_path)

    def result(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return header and payload of the result frame."""
        assert self.ended_s is not None
        is_signaled = os.WIFSIGNALED(self.status)
        returncode = -os.WTERMSIG(self.status) if is_signaled else os.WEXITSTATUS(self.status)
        missing = [path for path in self.task["outputs"] if not self._exists(path)] if not self.status else []
        channel_error = self._told.problem()
        has_failed = returncode or missing or channel_error  # what it meant to tell may be lost
        header = {
            "k": "result",
            "job": self.job,
            "attempt": self.number,
            "state": self.verdict or ("SIGNALED" if is_signaled else "FAILED" if has_failed else "OK"),
            "returncode": returncode,
            "duration_s": round(self.ended_s - self.started_s, 6),
            "max_rss_bytes": self.used[2] * (1 if sys.platform == "darwin" else 1024),
            "user_s": round(self.used[0], 6),
            "system_s": round(self.used[1], 6),
            "warm": self.is_warm,
            "missing": [path[:_MAX_TOLD_CHARS] for path in missing[:_MAX_TOLD]],
            "left_behind": self.left_behind,
            "channel_error": channel_error[:_MAX_TOLD_CHARS],
        }
        tails = {kind: tail.decode("utf-8", "surrogateescape") for kind, tail in self._tails.items()}
        error = (self.error or self._told.error).decode("utf-8", "replace")
        told = {"outputs": self._told.outputs.decode("ascii", "replace"), "error": error}
        return header, {**told, "stdout_tail": tails["out"], "stderr_tail": tails["err"]}

    def _words(self, environment: dict[str, str], channel: int) -> list[str]:
        """Return argv, with the channel's address and the arguments in their place."""
        command: list[str] = list(self.task["words"])
        is_python = self.is_script and command[0] == "python"
        if is_python:
            command[0] = self._python
            self._check_script(command)
        arguments = [word if isinstance(word, str) else str(word) for word in self.task["arguments"]]
        words = [*command, CHANNEL, str(channel), *arguments] if self.is_script else [*command, *arguments]
        can_use_file = is_python and len(command) > 1 and not command[1].startswith("-")
        if can_use_file and (arguments != self.task["arguments"] or not fits_argv(words)):
            self._has_arguments_file = True
            write_arguments(self._arguments_path, words[2:], self.task["arguments"])
            environment[ARGUMENTS_FILE] = self._arguments_path
            if not fits_argv(words):
                words = [command[0], sys.modules["pipeline.node.arguments"].__file__ or "", command[1]]
        return words

    def _check_script(self, command: list[str]) -> None:
        """Python would say it too, but on several lines and with exit status 2."""
        if len(command) < 2 or command[1].startswith("-"):
            return
        path = os.path.join(self.task["cwd"] or "", command[1])
        with contextlib.suppress(ValueError):  # a NUL in it
            if os.access(path, os.R_OK):
                return
        if not os.path.exists(path):
            raise Refused(f"no node script {command[1]!r} there; is its directory visible on the host?")
        raise Refused(f"node script {command[1]!r} is not readable there")

    def _open_pipes(self, theirs: list[int]) -> None:
        """Open what it writes to; puts its ends into `theirs`: of out, err and, if it is a script, log."""
        for kind in ("out", "err", "log") if self.is_script else ("out", "err"):
            if kind == "log":
                # Packets: those of several processes that log at the same time stay whole.
                ours, its = (end.detach() for end in socket.socketpair(type=socket.SOCK_SEQPACKET))
            else:
                ours, its = os.pipe()
            theirs.append(its)
            self.pipes[ours] = kind
            os.set_blocking(ours, False)

    def _start_clock(self) -> None:
        self.started_s = time.monotonic()
        if self._timeout_s:
            self.deadline_s = self.started_s + self._timeout_s

    def _exists(self, path: str) -> bool:
        return os.path.exists(os.path.join(self.task["cwd"] or "", path))


def _why_not_started(error: OSError | ValueError | TypeError, task: dict[str, Any]) -> str:
    program, cwd = task["words"][0], task["cwd"]
    if not isinstance(error, OSError):  # subprocess: embedded null byte, and whatever else is no text
        return f"cannot start {program!r}: {error}; only node scripts started with `python` take such arguments"
    if cwd and not os.path.isdir(cwd):
        return f"no working directory {cwd!r} there"
    if isinstance(error, FileNotFoundError):
        return f"no program {program!r} there"
    if isinstance(error, PermissionError):
        return f"no permission to run {program!r} there"
    if error.errno == errno.E2BIG:
        return f"arguments of {program!r} are longer than the host takes; put them into a file or use a node script"
    return f"cannot start {program!r} there: {error.strerror}"


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
