"""Progress of a run: on a real terminal (a pty), and in a log."""

import contextlib
import fcntl
import io
import logging
import os
import re
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

import pytest

from pipeline.model.jobs import JobState
from pipeline.run.events import HostChanged, JobEnded, JobFinished, JobsSubmitted, JobStarted
from pipeline.view.progress import Progress
from pipeline.view.screen import Screen, can_show_block

DEADLINE_S = 20.0


class Terminal:
    """A pty: `stream` is the program's end; a thread reads the other, or the program would soon be held up."""

    def __init__(self, columns: int = 100, lines: int = 30) -> None:
        self._fd, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.stream: TextIO = open(slave, "w", encoding="utf-8")  # noqa: SIM115  # closed in close()
        self._shown = bytearray()
        self._news = threading.Condition()
        self._is_closing = False
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        while not self._is_closing:
            if select.select([self._fd], [], [], 0.02)[0]:
                with self._news:
                    self._shown += os.read(self._fd, 65536)
                    self._news.notify_all()

    @property
    def text(self) -> str:
        """What was shown so far."""
        return self._shown.decode("utf-8", "replace")

    def wait_for(self, is_there: Callable[[str], object]) -> str:
        """Wait until what was shown satisfies `is_there`, and return it."""
        with self._news:
            assert self._news.wait_for(lambda: is_there(self.text), DEADLINE_S), f"not shown: {self.text!r}"
            return self.text

    def hang_up(self) -> None:
        """Go away, as a terminal whose window is closed."""
        if not self._is_closing:
            self._is_closing = True
            self._reading.join(DEADLINE_S)
            os.close(self._fd)

    def close(self) -> None:
        self.hang_up()
        with contextlib.suppress(OSError):
            self.stream.close()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def progress_log() -> Iterator[tuple[logging.Logger, Callable[[TextIO], None]]]:
    """The logger of progress lines at INFO, and a function that sends it to a stream."""
    logger, handlers = logging.getLogger("pipeline.progress"), []

    def send_to(stream: TextIO) -> None:
        handlers.append(logging.StreamHandler(stream))
        logger.addHandler(handlers[-1])

    logger.setLevel(logging.INFO)
    yield logger, send_to
    logger.setLevel(logging.NOTSET)
    for handler in handlers:
        logger.removeHandler(handler)


def submit(progress: Progress, total: int, hosts: int = 1) -> None:
    progress.handle(JobsSubmitted(total, {f"node{i}": total // hosts for i in range(hosts)}))
    for i in range(min(total, hosts)):
        progress.handle(JobStarted(i + 1, f"node{i}"))


def finish(progress: Progress, total: int, state: JobState = JobState.OK) -> None:
    for job_id in range(1, total + 1):
        progress.handle(JobEnded(job_id, "node0", state, 1.0))
        progress.handle(JobFinished(job_id, "node0", state))


def test_block_shows_counts_and_hosts(terminal: Terminal):
    """On a terminal a block shows what is done, and each host with its jobs and state."""
    with Progress(terminal.stream, delay_s=0.0) as progress:
        progress.handle(HostChanged("node0", "connected", ""))
        submit(progress, 4, hosts=2)
        terminal.wait_for(lambda text: "0 of 4 done, 2 running on 2 hosts" in text and "node1" in text)
        progress.handle(JobFinished(1, "node0", JobState.FAILED))
        text = terminal.wait_for(lambda text: "0 of 4 done, 1 failed, 1 running on 1 host" in text)

    assert re.search(r"node0 +1 running +0 done +connected", text)


def test_many_hosts_are_summed_up(terminal: Terminal):
    """Of 64 hosts ten are shown and the others counted."""
    with Progress(terminal.stream, delay_s=0.0) as progress:
        submit(progress, 64, hosts=64)
        text = terminal.wait_for(lambda text: "and 54 more" in text)

    assert len(set(re.findall(r"node\d+", text))) == 10


def test_log_lines_survive_whole_above_the_block(terminal: Terminal):
    """Each record logged while the block is drawn is on the terminal once and in one piece, however long."""
    progress = Progress(terminal.stream, delay_s=0.0)
    handler = logging.StreamHandler(progress.stream)
    lines = [f"<record {i} {'x' * (i * 5)} end>" for i in range(60)]
    with progress:
        submit(progress, 100)
        terminal.wait_for(lambda text: "of 100 done" in text)
        for line in lines:
            handler.emit(logging.LogRecord("n", logging.INFO, "", 0, line, None, None))
        text = terminal.wait_for(lambda text: lines[-1] in text)

    # Each begins where the block was erased or the last line ended, and ends with a line feed.
    assert re.findall(r"(?:\x1b\[2K|\r\n|^)(<record .*? end>)\r\n", text.replace("end>\r\n", "end>\r\n\r\n")) == lines


def test_record_with_an_escape_sequence_cannot_tear_the_block(terminal: Terminal):
    """What a terminal would obey in a record is written out above the block."""
    with Progress(terminal.stream, delay_s=0.0) as progress:
        submit(progress, 3)
        terminal.wait_for(lambda text: "of 3 done" in text)
        print("evil \x1b[2J[bold]\r line", file=progress.stream)

        terminal.wait_for(lambda text: "evil \\x1b[2J[bold]\\r line\r\n" in text)


def test_block_is_gone_after_the_step(terminal: Terminal):
    """When all jobs are final the block is erased and the cursor is shown again."""
    with Progress(terminal.stream, delay_s=0.0) as progress:
        submit(progress, 3)
        terminal.wait_for(lambda text: "of 3 done" in text)
        finish(progress, 3)
        text = terminal.wait_for(lambda text: "\x1b[?25h" in text)

    assert text.rstrip().endswith("\x1b[2K")


def test_block_comes_back_for_the_next_step(terminal: Terminal):
    """A second step shows the block again."""
    with Progress(terminal.stream, delay_s=0.0) as progress:
        submit(progress, 2)
        terminal.wait_for(lambda text: "of 2 done" in text)
        finish(progress, 2)
        terminal.wait_for(lambda text: "\x1b[?25h" in text)
        progress.handle(JobsSubmitted(5, {"node0": 5}))

        terminal.wait_for(lambda text: "2 of 7 done" in text)


def test_full_terminal_does_not_hold_up_events(terminal: Terminal):
    """With a terminal that nobody reads (Ctrl-S), events are taken at once and the end comes in bounded time."""
    began_s = time.monotonic()
    with Progress(terminal.stream, delay_s=0.0) as progress:
        termios.tcflow(terminal.stream.fileno(), termios.TCOOFF)
        submit(progress, 5000)
        finish(progress, 5000)
        handled_s = time.monotonic() - began_s
    ended_s = time.monotonic() - began_s
    termios.tcflow(terminal.stream.fileno(), termios.TCOON)

    assert handled_s < 1.5
    assert ended_s < 10.0


def test_closed_terminal_does_not_end_the_run(terminal: Terminal):
    """When the terminal goes away while the block is shown, no error comes out."""
    with Progress(terminal.stream, delay_s=0.0) as progress:
        submit(progress, 3)
        terminal.wait_for(lambda text: "of 3 done" in text)
        terminal.hang_up()
        finish(progress, 3)

    assert "progress" not in [thread.name for thread in threading.enumerate()]


def test_short_step_shows_no_block(terminal: Terminal):
    """A step that is over before the delay leaves the terminal as it was."""
    with Progress(terminal.stream, delay_s=60.0) as progress:
        submit(progress, 3)
        finish(progress, 3)
    print("end", file=terminal.stream, flush=True)

    assert terminal.wait_for(lambda text: "end" in text) == "end\r\n"


def test_without_a_terminal_a_step_ends_with_a_line(progress_log):
    """Into a file or pipe one line tells the end of a step."""
    stream = io.StringIO()
    progress_log[1](stream)
    with Progress(stream) as progress:
        submit(progress, 3)
        finish(progress, 3, JobState.FAILED)

    assert stream.getvalue() == "0 of 3 done, 3 failed\n"


def test_without_a_terminal_a_long_step_gives_a_line_now_and_then(progress_log):
    """While a step goes on, a line appears at each interval in which something happened."""
    reading, writing = os.pipe()
    with open(reading) as lines, open(writing, "w", buffering=1) as stream:
        progress_log[1](stream)
        with Progress(stream, interval_s=0.02) as progress:
            submit(progress, 3)
            first = lines.readline()
            progress.handle(JobFinished(1, "node0", JobState.OK))
            second = lines.readline()

    assert first == "0 of 3 done, 1 running on 1 host\n"
    assert second.startswith("1 of 3 done")


def test_two_lines_are_an_interval_apart(progress_log):
    """However many events there are, no line comes before the interval is over."""
    stream = io.StringIO()
    progress_log[1](stream)
    with Progress(stream, interval_s=3600.0) as progress:
        submit(progress, 2000)
        finish(progress, 1999)

    assert stream.getvalue() == ""


@pytest.mark.parametrize("term", ["", "dumb"])
def test_dumb_terminal_gets_no_block(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, term: str):
    """A terminal that cannot move its cursor is treated like a file."""
    monkeypatch.setenv("TERM", term)

    assert not can_show_block(terminal.stream)


def test_closed_stream_is_no_terminal():
    """Without stderr, or with one that was closed, no block is shown."""
    closed = io.StringIO()
    closed.close()

    assert (can_show_block(None), can_show_block(closed)) == (False, False)


def test_text_without_a_block_is_left_alone():
    """When no block is shown the stream passes everything through, escape sequences too."""
    stream = io.StringIO()
    Screen(stream).write("a\x1b[1mb\nc")

    assert stream.getvalue() == "a\x1b[1mb\nc"


def test_block_waits_for_the_end_of_a_line(terminal: Terminal):
    """A block is not drawn into a line that somebody has begun, such as a question."""
    screen = Screen(terminal.stream)
    screen.write("Continue? ")
    screen.show("BLOCK")
    screen.write("yes\n")
    screen.show("BLOCK")
    screen.hide()

    assert terminal.wait_for(lambda text: "\x1b[?25h" in text).startswith("Continue? yes\r\n\x1b[?25lBLOCK")


def test_importing_progress_does_not_load_rich():
    """A run in a batch job does not pay for the terminal's library."""
    code = "import sys, pipeline.view.progress, pipeline.view.status; sys.exit('rich' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
