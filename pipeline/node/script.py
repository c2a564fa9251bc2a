"""`Node`: what a node script derives from. It logs, and sets outputs, as if it ran on the master."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback

from pipeline.formats.frames import encode_message
from pipeline.node import CHANNEL, MAX_OUTPUTS_BYTES
from pipeline.node.arguments import ARGUMENTS_FILE, read_arguments

TYPE_CHECKING = False  # so named, type checkers take it for true; importing typing takes 3 ms, in every job
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Node"]


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
            return status if are_sent else (status or 1)
        finally:
            self.logger.removeHandler(handler)
            handler.close()

    @classmethod
    def main(cls) -> int:
        """Run the script with its arguments, typed as the master gave them: `sys.exit(Cls.main())`."""
        words = sys.argv[1:]
        # Words of the job's command may stand before it.
        pairs = zip(words, words[1:])
        at = next((i for i, (word, number) in enumerate(pairs) if word == CHANNEL and number.isdigit()), None)
        if at is None:
            return cls().run_with_logging(*words)
        return cls(*words[at : at + 2]).run_with_logging(*_typed_arguments(words[at + 2 :]))

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
            outputs = json.dumps(self.outputs).encode("ascii")
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
    """Speaks to the agent; blocks while the agent has its hands full, so that nothing is dropped."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self._channel = channel
        os.set_inheritable(channel, False)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.send("log", encode_record(record))
        except Exception:  # noqa: BLE001  # logging's own convention: a record never ends the program that logs
            self.handleError(record)

    def send(self, kind: str, payload: bytes) -> None:
        """Send one message; one thread at a time, or their frames would be mixed up."""
        # os.write, not the socket module: its import takes a tenth of the time that a short job takes in all.
        left = memoryview(encode_message({"k": kind}, payload))
        self.acquire()
        try:
            while left:
                left = left[os.write(self._channel, left) :]
        finally:
            self.release()

    def close(self) -> None:
        os.close(self._channel)
        super().close()


def encode_record(record: logging.LogRecord) -> bytes:
    """Return a log record as JSON: t seconds since 1970, l level, n logger, m message, x traceback."""
    fields = {"t": record.created, "l": record.levelno, "n": record.name, "m": record.getMessage()}
    if record.exc_info:
        fields["x"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return json.dumps(fields).encode("ascii")


def _typed_arguments(words: list[str]) -> list[Any]:
    """Arguments that are not all text travel in a file of the agent's (see `node/arguments.py`)."""
    path = os.environ.pop(ARGUMENTS_FILE, None)
    return words if path is None else list(read_arguments(path)["arguments"])
