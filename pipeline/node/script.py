"""`Node`: what a node script derives from. It logs, and sets outputs, as if it ran on the master."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback

from pipeline.formats.frames import encode_frame
from pipeline.node import CHANNEL, MAX_OUTPUTS_BYTES, MAX_PACKET_BYTES
from pipeline.node.arguments import ARGUMENTS_FILE, read_arguments

TYPE_CHECKING = False  # so named, type checkers take it for true; importing typing takes 3 ms, in every job
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Node"]

_MAX_RECORD_BYTES = 1 << 20  # of a log record as JSON
_dumps = json.JSONEncoder().encode  # as `json.dumps` without its eleven arguments


class Node:
    """
    Base class of node scripts.

    Attributes:
        logger: `node.<host>.<class>`; its records appear in the master's log.
        outputs: JSON values for the master; they arrive whatever `run` returns.
    """

    def __init__(self, loghost: str = "", logport: str | int = "") -> None:
        """Log to the agent (`channel`), to the master's TCP log server, or by hand (neither given) to stderr."""
        self.loghost = str(loghost)
        self.logport = str(logport)
        self.outputs: dict[str, Any] = {}
        host = os.environ.get("PIPELINE_HOST") or os.uname().nodename.partition(".")[0]
        self.logger = logging.getLogger(f"node.{host}.{type(self).__name__}")

    def run(self, *args: Any) -> int | None:
        """Do the work of one job and return its exit code; None counts as 0."""
        raise NotImplementedError(f"{type(self).__name__} defines no run(self, *args)")

    def run_with_logging(self, *args: Any) -> int:
        """Call `run`, with its log records and outputs going to the master, and return the exit code."""
        handler = self._open_log()
        channel = handler if isinstance(handler, _ChannelHandler) else None
        self.logger.addHandler(handler)
        self.logger.setLevel(logging.DEBUG)
        self.logger.propagate = False
        if channel and hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=True)  # a pipe is block buffered: lines would arrive at the end
        try:
            try:
                status = self._run_logged(args, channel)
            finally:  # also when the script calls sys.exit
                are_sent = self._send_outputs(channel)
            is_complete = are_sent and not (channel and channel.is_broken)
            return status if is_complete else (status or 1)
        finally:
            self.logger.removeHandler(handler)
            handler.close()

    @classmethod
    def main(cls) -> int:
        """Run the script with its arguments, typed as the master gave them: `sys.exit(Cls.main())`."""
        words = sys.argv[1:]
        for at, word in enumerate(words[:-1]):  # words of the job's command may stand before it
            if word == CHANNEL and words[at + 1].isdigit():
                return cls(*words[at : at + 2]).run_with_logging(*_typed_arguments(words[at + 2 :]))
        return cls().run_with_logging(*words)

    def _run_logged(self, args: Any, channel: _ChannelHandler | None) -> int:
        try:
            status = self.run(*args)
        except Exception as error:  # whatever a user's script raises fails its job, told on the master
            what = f"{type(error).__name__}: {error}"
            self.logger.error("%s", what, exc_info=True)
            if channel:
                channel.send("error", what.encode("utf-8", "backslashreplace")[:4096])
            return 1
        return 0 if status is None else status

    def _send_outputs(self, channel: _ChannelHandler | None) -> bool:
        if not self.outputs or channel is None:
            return True
        try:
            outputs = _dumps(self.outputs).encode("ascii")
        except (TypeError, ValueError) as error:
            self.logger.error("outputs: %s; expected JSON values", error)
            return False
        if len(outputs) > MAX_OUTPUTS_BYTES:
            size = f"{len(outputs)} bytes as JSON; expected at most {MAX_OUTPUTS_BYTES}"
            self.logger.error("outputs: %s: put them into a file and its name into the outputs", size)
            return False
        channel.send("outputs", outputs)
        return True

    def _open_log(self) -> logging.Handler:
        if self.loghost == CHANNEL and self.logport.isdigit():
            return _ChannelHandler(int(self.logport))
        if self.loghost and self.logport.isdigit() and int(self.logport) > 0:
            # The client needs pyzmq, which a host need not have: it lives with the log server, not in this room.
            import pipeline

            handler: logging.Handler = pipeline.LogClient(self.loghost, int(self.logport))
            return handler
        by_hand = logging.StreamHandler(sys.stderr)
        layout = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
        by_hand.setFormatter(logging.Formatter(layout, "%Y-%m-%d %H:%M:%S"))
        return by_hand


class _ChannelHandler(logging.Handler):
    """
    Speaks to the agent; blocks while the agent has its hands full, so that nothing is dropped.

    Each frame is one packet, and the pieces of a message name their sender: processes that the script forks may log
    at the same time. `is_broken` tells that a message could not be sent; those that follow are dropped.
    """

    def __init__(self, channel: int) -> None:
        super().__init__()
        self._channel = channel
        self.is_broken = False
        os.set_inheritable(channel, False)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.send("log", encode_record(record))
        except Exception:  # noqa: BLE001  # logging's own convention: a record never ends the program that logs
            self.handleError(record)

    def send(self, kind: str, payload: bytes) -> None:
        """Send one message; one thread at a time, or their frames would be mixed up."""
        frames = _frames(kind, payload)
        self.acquire()
        try:
            for frame in () if self.is_broken else frames:
                # Not the socket module: its import takes a tenth of the time that a short job takes in all.
                os.write(self._channel, frame)
        except OSError as error:
            self.is_broken = True
            print(f"the log channel is broken: {error.strerror}; log records and outputs are lost", file=sys.stderr)
        finally:
            self.release()

    def close(self) -> None:
        try:  # noqa: SIM105  # contextlib's code would cost each job six page faults
            os.close(self._channel)
        except OSError:
            pass  # the script has closed it
        super().close()


class _Rehearsal(Node):
    def run(self, *args: Any) -> None:
        for argument in (*args, 1):  # logging looks at the type of a single one
            self.logger.info("%s", argument)
        self.outputs["args"] = args


def rehearse() -> None:
    """
    Run a script that logs to nowhere, for a warm process; it leaves no trace.

    What Python does for the first time it prepares, and what it prepares it writes down: in each fork that would be in
    pages of its own. This saves a fifth of a short job's time.
    """
    if (logging.getLogRecordFactory(), logging.getLoggerClass()) != (logging.LogRecord, logging.Logger):
        return  # somebody else's would hear of it
    stdout, argv, loggers = sys.stdout, sys.argv, logging.Logger.manager.loggerDict
    known = set(loggers)
    sys.stdout = None  # it shall be buffered as it is
    try:
        for _ in range(20):  # Python 3.11 and later adapt code that has run some eight times
            sys.argv = ["", CHANNEL, str(os.open(os.devnull, os.O_WRONLY)), "text"]
            _Rehearsal.main()
            for name in set(loggers) - known:
                del loggers[name]
    finally:
        sys.stdout, sys.argv = stdout, argv


def _frames(kind: str, payload: bytes) -> list[bytes]:
    """Return the frames of one message; a long one is sent in pieces."""
    if len(payload) <= MAX_PACKET_BYTES:
        return [encode_frame({"k": kind}, payload)]
    starts = range(0, len(payload), MAX_PACKET_BYTES)
    kinds = ["piece"] * (len(starts) - 1) + [kind]
    return [
        encode_frame({"k": k, "pid": os.getpid(), "is_first": not i}, payload[i : i + MAX_PACKET_BYTES])
        for k, i in zip(kinds, starts)
    ]


def encode_record(record: logging.LogRecord) -> bytes:
    """
    Return a log record as JSON: t seconds since 1970, l level, n logger, m message, x traceback.

    Message and traceback of one over 1 MiB are cut, and say so.
    """
    fields: dict[str, Any] = {"t": record.created, "l": record.levelno, "n": record.name, "m": record.getMessage()}
    if record.exc_info:
        fields["x"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
    encoded = _dumps(fields).encode("ascii")
    if len(encoded) > _MAX_RECORD_BYTES:
        fields.update({key: _shortened(fields[key], _MAX_RECORD_BYTES // 2) for key in "mx" if key in fields})
        encoded = _dumps(fields).encode("ascii")
    return encoded


def _shortened(text: str, max_bytes: int) -> str:
    """Return so much of a text that it has about `max_bytes` as JSON."""
    kept = text
    while len(kept) and (size := len(_dumps(kept))) > max_bytes:
        kept = kept[: len(kept) * max_bytes // size]
    return text if kept == text else f"{kept}... [{len(text) - len(kept)} characters cut]"


def _typed_arguments(words: list[str]) -> list[Any]:
    """Arguments that are not all text travel in a file of the agent's (see `node/arguments.py`)."""
    path = os.environ.pop(ARGUMENTS_FILE, None)
    return words if path is None else list(read_arguments(path)["arguments"])
