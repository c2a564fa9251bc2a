"""A terminal with a block at its bottom that is drawn over and over; lines written meanwhile appear above it."""

import io
import os
import threading
from typing import TYPE_CHECKING, TextIO

from pipeline.run.textfiles import one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

__all__ = ["Screen", "can_show_block"]


def can_show_block(stream: TextIO | None) -> bool:
    """Return whether `stream` is a terminal that can move its cursor."""
    try:
        is_terminal = stream is not None and stream.isatty()
    except ValueError:  # closed
        return False
    return is_terminal and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


class _Drawing(io.StringIO):
    """Where rich draws; `encoding` lets it choose characters that the terminal has."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # StringIO's own is always None
        return self._encoding

    def take(self) -> str:
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


class Screen(io.TextIOBase):
    """
    A text stream, for a `logging.StreamHandler`, that keeps its lines clear of a block; used by any threads.

    Without a block text goes to the terminal as it is. Above a block only whole lines are written, with what a
    terminal would obey written out: it could tear the block.
    """

    def __init__(self, terminal: TextIO) -> None:
        """Write to `terminal`; rich is loaded only when the first block is shown."""
        super().__init__()
        self._terminal = terminal
        self._lock = threading.RLock()
        self._drawing: _Drawing | None = None
        self._console: Console | None = None
        self._live: Live | None = None
        self._pending = ""  # the beginning of a line: on the terminal without a block, kept back with one
        self._is_broken = False

    def write(self, text: str, /) -> int:
        """Write `text`; above the block if there is one."""
        with self._lock:
            *lines, last = text.split("\n")
            if lines:
                lines[0] = self._pending + lines[0]
            self._pending = last if lines else self._pending + last
            if self._live is None:
                self._terminal.write(text)
            elif lines:
                self._write_above(lines)
        return len(text)

    def flush(self) -> None:
        """Flush the terminal."""
        with self._lock:
            self._terminal.flush()

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._terminal.isatty()

    def show(self, block: "RenderableType") -> None:
        """Draw `block`, at the bottom or in place of the last one; does nothing once the terminal is gone."""
        with self._lock:
            if self._is_broken or (self._live is None and self._pending):
                return  # somebody's line is not ended yet: the block would be drawn into it
            if self._live is None:
                self._live = self._start()
            self._fit()
            self._live.update(block, refresh=True)
            self._draw()

    def hide(self) -> None:
        """Remove the block."""
        with self._lock:
            if self._live is None:
                return
            self._live.stop()
            self._live = None
            self._draw(self._pending)

    def _start(self) -> "Live":
        from rich.console import Console  # 60 ms: short runs never get here
        from rich.live import Live

        if self._console is None:
            self._drawing = _Drawing(self._terminal.encoding or "ascii")
            self._console = Console(file=self._drawing, force_terminal=True, highlight=False)
        # Standard output and error stay what they are: this is one stream, not the process's.
        live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        live.start()
        return live

    def _write_above(self, lines: list[str]) -> None:
        from rich.text import Text

        assert self._console is not None
        self._fit()
        text = "\n".join(one_line(line.replace("\t", "    ")) for line in lines)
        self._console.print(Text(text), soft_wrap=True)  # the terminal wraps; a copied line is then one line
        self._draw()

    def _fit(self) -> None:
        """Take over the terminal's size: rich would ask the process's standard streams."""
        assert self._console is not None
        try:
            size = os.get_terminal_size(self._terminal.fileno())
        except OSError:
            return
        if size.columns and size.lines:
            self._console.size = size

    def _draw(self, more: str = "") -> None:
        """All at once, so that nothing comes between; a terminal that was closed is no reason to stop a run."""
        assert self._drawing is not None
        text = self._drawing.take() + more
        try:
            self._terminal.write(text)
            self._terminal.flush()
        except OSError:
            self._is_broken = True
