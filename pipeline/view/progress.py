"""Progress of a run: a live block on a terminal, a log line now and then elsewhere."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self, TextIO

from pipeline.run.events import Event
from pipeline.run.textfiles import one_line
from pipeline.view.screen import Screen, can_show_block
from pipeline.view.tally import HostTally, Tally

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["Progress"]

log = logging.getLogger(__name__.replace(".view", ""))  # pipeline.progress: the name users see

_REDRAW_S = 0.125
_IDLE_S = 60.0  # nothing runs: only an event wakes us
_JOIN_S = 2.0
_SHOWN_HOSTS = 10


class Progress:
    """
    Shows how a run gets on, while in its `with` block.

    All output is made by a thread of its own: a terminal stopped with Ctrl-S must not hold up whoever tells us
    events, or the hosts would think that the master is gone.

    Attributes:
        stream: Where the handler for log lines on stderr is to write, so that they appear above the block;
            also good before and after the run. None if stderr is closed.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        is_live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        delay_s: float = 0.3,
        interval_s: float = 10.0,
    ) -> None:
        """
        Show on `stream`, by default stderr.

        Args:
            stream: A terminal or not.
            is_live: Show a block; None does so if `stream` is a terminal.
            clock: Monotonic seconds.
            delay_s: A step over sooner than that never shows a block.
            interval_s: Least time between two lines about one step, where there is no block.
        """
        stream = sys.stderr if stream is None else stream
        self._is_live = can_show_block(stream) if is_live is None else is_live and stream is not None
        self._screen = None if stream is None else Screen(stream)
        self.stream: TextIO | None = self._screen  # type: ignore[assignment]  # all of TextIO that is for writing
        self._clock = clock
        self._first_s = delay_s if self._is_live else interval_s
        self._next_s = _REDRAW_S if self._is_live else interval_s
        self._lock = threading.Lock()  # for the five below; never held during output
        self._tally = Tally()
        self._due_s: float | None = None  # when to show something next; None while nothing is to be done
        self._has_changed = False
        self._last_lines: list[str] = []  # of steps that ended
        self._is_closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        """Begin to show what `handle` is told."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the block; waits at most 2 s for a terminal that takes nothing."""
        with self._lock:
            self._is_closing = True
        self._wake.set()
        self._thread.join(_JOIN_S)

    def handle(self, event: Event) -> None:
        """Take note of an event; from any thread, and never waits for the terminal."""
        now_s = self._clock()
        with self._lock:
            was_busy = self._due_s is not None
            self._tally.handle(event, now_s)
            is_busy = self._tally.remaining > 0
            self._has_changed = True
            if was_busy == is_busy:
                return
            self._due_s = now_s + self._first_s if is_busy else None
            if not is_busy:
                self._last_lines.append(self._tally.line(now_s))
        self._wake.set()

    def _run(self) -> None:
        is_closing = False
        while not is_closing:
            self._wake.wait(self._wait_s())
            self._wake.clear()
            with self._lock:
                is_closing = self._is_closing
            self._say_last_lines()
            if not is_closing:
                self._show()
        self._hide()

    def _wait_s(self) -> float:
        with self._lock:
            return _IDLE_S if self._due_s is None else max(0.0, self._due_s - self._clock())

    def _say_last_lines(self) -> None:
        with self._lock:
            lines, self._last_lines = self._last_lines, []
        if lines:
            self._hide()
        for line in lines:
            log.info("%s", line)

    def _show(self) -> None:
        now_s = self._clock()
        with self._lock:
            if self._due_s is None or now_s < self._due_s:
                return
            self._due_s = now_s + self._next_s
            line, hosts, tally = self._tally.line(now_s), self._tally.busiest(_SHOWN_HOSTS), self._tally
            finished, total, more = tally.final, tally.total, len(tally.hosts) - len(hosts)
            rows = [_host_cells(host) for host in hosts]
            has_changed, self._has_changed = self._has_changed, False
        if self._is_live and self._screen is not None:
            self._screen.show(_block(line, finished, total, rows, more))
        elif has_changed:
            log.info("%s", line)

    def _hide(self) -> None:
        if self._screen is not None:
            self._screen.hide()


def _host_cells(host: HostTally) -> tuple[str, ...]:
    failed = f"{host.failed} failed" if host.failed else ""
    return (host.host, f"{host.running} running", f"{host.done} done", failed, host.state)


def _block(line: str, finished: int, total: int, rows: list[tuple[str, ...]], more: int) -> "RenderableType":
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 1))
    head.add_column(width=20)
    head.add_column()
    head.add_row(ProgressBar(total=max(1, total), completed=finished, width=20), Text(line))
    return Group(head, _host_table(rows), *([Text(f"  and {more} more")] if more else []))


def _host_table(rows: list[tuple[str, ...]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for justify in ("left", "right", "right", "right", "left"):
        table.add_column(justify=justify, no_wrap=True, overflow="ellipsis")
    for name, *cells in rows:
        table.add_row(*(Text(one_line(cell)) for cell in ("  " + name, *cells)))
    return table
