"""A link: one agent on one host, as the master sees it. One thread reads; nothing else waits for the host."""

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.errors import FrameError, HostError, PipelineError
from pipeline.formats.frames import Header, encode_message
from pipeline.hosts.session import Session
from pipeline.run.handshake import Greeting, greet
from pipeline.run.log_writer import LogWriter
from pipeline.run.outcomes import read_outcome
from pipeline.run.reach import Reach
from pipeline.run.reports import LinkEnded, LinkReports, Report
from pipeline.run.sender import Sender
from pipeline.run.textfiles import one_line

__all__ = ["Link", "connect"]

log = logging.getLogger(__name__)

_READ_BYTES = 256 << 10
_NUMBERED = ("start", "output", "result")
_KINDS = ("out", "err", "log")
_MAX_NOTE_CHARS = 1000


class _Arrived:
    """What one read brought: pieces of output and their bytes, reports, and the number of the last result."""

    __slots__ = ("output", "pieces", "reports", "seq")

    def __init__(self) -> None:
        self.pieces: list[tuple[int, int, str, int]] = []
        self.output: list[bytes] = []
        self.reports: list[Report] = []
        self.seq = 0


class Link:
    """
    Attributes:
        host: The name the jobs use.
        hello: What the agent said of itself, see `node/guardian.py`.
        end: How it ended, once it has.
        hello_at_s: When it did, seconds since 1970 by our clock.
    """

    def __init__(
        self,
        host: str,
        session: Session,
        greeting: Greeting,
        reach: Reach,
        logs: LogWriter | None,
        notify: Callable[[LinkReports | LinkEnded], None],
    ) -> None:
        """Start both threads; `notify` is called from the reading one, and so is `logs` (None: nobody wants it)."""
        self.host = host
        self.hello = greeting.hello
        self.hello_at_s = time.time()
        self.end: LinkEnded | None = None
        self._session = session
        self._greeting = greeting
        self._parameters = reach.parameters
        self._logs = logs
        self._notify = notify
        self._sender = Sender(host, session, self._parameters.beat_interval, self._parameters.dead_after)
        self._queued: list[bytes] = []
        # By number: how many paths were asked about, and where the answer goes; None is the end of the link.
        self._answers: dict[int, tuple[int, queue.SimpleQueue[list[tuple[str, int]] | None]]] = {}
        self._seq = 0
        self._given: set[tuple[int, int]] = set()
        self._has_said_bye = False
        threading.Thread(target=self._read, name=f"read {host}", daemon=True).start()

    def send(self, header: Header, payload: Any = None) -> None:
        """Send a message; never waits for the host. `payload` becomes JSON."""
        self._sender.send(_encoded(header, payload))

    def queue(self, header: Header, payload: Any = None) -> None:
        """Keep a message for `flush`; called by the dispatcher's thread alone."""
        self._queued.append(_encoded(header, payload))

    def queue_run(self, job_id: int, attempt: int, header: Header, task: Any) -> None:
        """Keep an attempt that is given to the host; only on such attempts may it report."""
        self._given.add((job_id, attempt))
        self.queue({**header, "job": job_id, "attempt": attempt}, task)

    def flush(self) -> None:
        """Send what was kept."""
        queued, self._queued = self._queued, []
        self._sender.send(b"".join(queued))

    def stat(self, paths: Sequence[str], timeout_s: float) -> list[tuple[str, int]]:
        """
        Ask what these paths are on the host.

        Returns:
            (n,) kind (file, directory, other, missing) and size in bytes.

        Raises:
            HostError: If no answer comes in `timeout_s`, or the link ends or had ended.
        """
        answer: queue.SimpleQueue[list[tuple[str, int]] | None] = queue.SimpleQueue()
        number = len(self._answers) + 1
        self._answers[number] = (len(paths), answer)
        self.send({"k": "stat", "id": number}, list(paths))
        if self.end:  # the reading thread may not have seen the question
            answer.put(None)
        try:
            found = answer.get(timeout=timeout_s)
        except queue.Empty:
            raise HostError(self.host, f"no answer about its files in {timeout_s:.0f} s") from None
        if found is None:
            raise HostError(self.host, (self.end and self.end.reason) or "the agent left")
        return found

    def close(self) -> None:
        """End the session, whatever state it is in."""
        self._sender.close()
        self._session.close()

    # -- the reading thread

    def _read(self) -> None:
        is_permanent = False
        try:
            reason = self._read_all()
        except HostError as error:
            reason = self._sender.why_closed or error.reason
        except FrameError as error:
            reason, is_permanent = f"broken protocol: {error}", True
        except PipelineError as error:
            reason = str(error)
        except Exception as error:  # the dispatcher waits for the word that it has ended
            log.debug("%s", self.host, exc_info=True)
            reason = f"reading from it failed: {type(error).__name__}: {error}"
        self.close()
        try:
            if self._logs:  # what lost attempts have written must not stay behind
                self._logs.write(self.host, (), b"", time.time(), sorted(self._given))
        except Exception:  # the log is closed: nobody wants to know any more
            log.debug("%s", self.host, exc_info=True)
        self.end = LinkEnded(self, "" if self._has_said_bye else reason, is_permanent)
        for _, answer in list(self._answers.values()):
            answer.put(None)
        self._notify(self.end)

    def _read_all(self) -> str:
        """Take in messages until the end; returns why it ended."""
        messages = self._greeting.rest
        while True:
            self._take_all(messages)
            try:
                data = self._session.read(_READ_BYTES, self._parameters.dead_after)
            except TimeoutError:
                return f"no sign of life for {self._parameters.dead_after:.0f} s"
            if not data:
                words = self._session.last_words()
                return "connection closed" + (f"; the host says: {words}" if words else "")
            messages = self._greeting.reader.feed(data)

    def _take_all(self, messages: Sequence[tuple[Header, bytes]]) -> None:
        """Take in what one read brought: output goes to the log, then reports to the dispatcher, each at once."""
        arrived = _Arrived()
        try:
            for header, payload in messages:
                try:
                    self._take(header, payload, arrived)
                except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
                    # A host can send anything: what we did not think of is its fault, too.
                    raise FrameError(f"message {header['k']!r}: {type(error).__name__}: {str(error)[:100]!r}") from None
        finally:  # what came before a broken message counts
            ended = [(report.job_id, report.attempt) for report in arrived.reports if report.outcome]
            if self._logs and (arrived.pieces or ended):
                self._logs.write(self.host, arrived.pieces, b"".join(arrived.output), time.time(), ended)
            if arrived.reports:
                self._notify(LinkReports(self, arrived.reports, arrived.seq))

    def _take(self, header: Header, payload: bytes, arrived: "_Arrived") -> None:
        kind = header["k"]
        if kind in _NUMBERED:
            self._seq += 1
            if header.get("seq") != self._seq:
                raise FrameError(f"message {str(header.get('seq'))[:40]!r} where {self._seq} was due")
        if kind == "output":
            arrived.pieces += self._checked_pieces(header, len(payload))
            arrived.output.append(payload)
        elif kind in ("start", "result"):
            self._check_given(header.get("job"), header.get("attempt"))
            arrived.reports.append(self._checked_report(header, payload))
            arrived.seq = self._seq if kind == "result" else arrived.seq
        elif kind == "stat":
            count, answer = self._answers[header["id"]]
            found = [(str(kind), int(size)) for kind, size in json.loads(payload)]
            if len(found) != count:
                raise FrameError(f"an answer about {len(found)} files where {count} were asked about")
            answer.put(found)
        elif kind == "note":
            log.info("%s: %s", self.host, one_line(str(json.loads(payload))[:_MAX_NOTE_CHARS]))
        elif kind == "bye":
            self._has_said_bye = True
        elif kind != "beat":
            raise FrameError(f"unknown message {kind[:40]!r}")

    def _checked_report(self, header: Header, payload: bytes) -> Report:
        if header["k"] == "start":
            if not isinstance(header.get("pid"), int):
                raise FrameError(f"start with pid {str(header.get('pid'))[:40]!r}")
            return Report(header["job"], header["attempt"], pid=header["pid"])
        outcome = read_outcome(header, payload)
        self._given.remove((header["job"], header["attempt"]))  # one result, and nothing after it
        return Report(header["job"], header["attempt"], outcome=outcome)

    def _checked_pieces(self, header: Header, size: int) -> list[tuple[int, int, str, int]]:
        """Return what an output frame is made of; a host can send anything, and is believed nothing."""
        try:
            pieces = [(int(job), int(attempt), str(kind), int(n)) for job, attempt, kind, n in header["p"]]
        except (KeyError, TypeError, ValueError):
            raise FrameError("output without a list of its pieces") from None
        if sum(n for *_, n in pieces) != size or any(n < 0 or kind not in _KINDS for *_, kind, n in pieces):
            raise FrameError("output whose pieces do not fit it")
        for job_id, attempt, *_ in pieces:
            self._check_given(job_id, attempt)
        return pieces

    def _check_given(self, job_id: Any, attempt: Any) -> None:
        if (job_id, attempt) not in self._given:
            shown = f"report on job {job_id!r} attempt {attempt!r}"
            raise FrameError(f"{shown[:100]}, which was not given to this host")


def _encoded(header: Header, payload: Any) -> bytes:
    return encode_message(header, b"" if payload is None else json.dumps(payload).encode("ascii"))


def connect(
    host: str,
    reach: Reach,
    logs: LogWriter | None,
    notify: Callable[[LinkReports | LinkEnded], None],
) -> Link:
    """
    Log in, start an agent and wait for its hello.

    Raises:
        HostError: The verdict, and whether it is permanent.
    """
    started_s = time.monotonic()
    session = reach.open_session(host)
    try:
        greeting = greet(host, session, reach)
    except BaseException:
        session.close()
        raise
    log.debug("%s: agent up after %.3f s with %s", host, time.monotonic() - started_s, reach.describe(host))
    return Link(host, session, greeting, reach, logs, notify)
