"""`pipeline status` as text: from the rows of a run store to plain columns, a table for a terminal, or JSON."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.model.jobs import JobState
from pipeline.run.store_reader import HostRow, JobRow, RunState, RunSummary
from pipeline.run.textfiles import one_line
from pipeline.view.text import align, format_duration

__all__ = ["Page", "Table", "format_json", "format_page", "format_page_for_terminal", "status_page"]

_HOST_HEADER = ("HOST", "STATE", "RUNNING", "DONE", "FAILED", "CORES", "VERDICT")
_JOB_HEADER = ("ID", "NAME", "STATE", "HOST", "ATTEMPTS", "DURATION", "EXIT", "MESSAGE")

_COLOURS = {
    **dict.fromkeys(("OK", "connected"), "green"),
    **dict.fromkeys(("RUNNING", "DISPATCHED"), "cyan"),
    **dict.fromkeys(("FAILED", "SIGNALED", "TIMEOUT", "LOST", "REFUSED", "lost"), "red"),
    "CANCELLED": "yellow",
}


@dataclass(frozen=True, slots=True)
class Table:
    """
    Cells as they are shown, harmless to a terminal.

    Attributes:
        header: (c,) titles.
        rows: (r, c) cells.
        right: Numbers of the columns that are aligned to the right.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int]


@dataclass(frozen=True, slots=True)
class Page:
    """One line that says it all, and tables."""

    headline: str
    tables: tuple[Table, ...]


def status_page(summary: RunSummary, jobs: Sequence[JobRow] | None, now: float) -> Page:
    """
    Lay out a run.

    Args:
        summary: The run.
        jobs: Listed below the hosts, in this order; None for no list.
        now: Unix seconds.
    """
    tables = [_host_table(summary.hosts)] if summary.hosts else []
    if jobs is not None:
        # Of a run whose master is gone nobody knows what still runs, or for how long.
        tables.append(_job_table(jobs, now if summary.run.state is RunState.RUNNING else None))
    return Page(_headline(summary, now), tuple(tables))


def format_page(page: Page) -> str:
    """Return the page as aligned text, a blank line before each table."""
    blocks = [page.headline, *("\n".join(align(t.header, t.rows, t.right)) for t in page.tables)]
    return "\n\n".join(blocks) + "\n"


def format_page_for_terminal(page: Page, width: int) -> str:
    """Return the page for a terminal of `width` columns: long cells are folded, states coloured."""
    import io  # 60 ms with rich, and only when somebody looks

    from rich.console import Console
    from rich.text import Text

    console = Console(file=io.StringIO(), width=width, force_terminal=True, highlight=False)
    console.print(Text(page.headline, style="bold"))
    for table in page.tables:
        console.print()
        console.print(_rich_table(table))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]  # the StringIO above


def format_json(summary: RunSummary, jobs: Sequence[JobRow] | None) -> str:
    """
    Return the run as one JSON object; keys are only ever added.

    `run`: what `RunRow` holds, `state` being running, interrupted, ok or failed. `counts`: jobs per state.
    `hosts`: a list of what `HostRow` holds. `jobs`, if asked for: a list of what `JobRow` holds, `command` and
    `arguments` as JSON text cut at 4 KiB. `last_change_at`. Times are unix seconds, durations seconds.
    """
    content: dict[str, Any] = {
        "run": asdict(summary.run) | {"state": summary.run.state.value},
        "counts": {state.value: number for state, number in summary.counts.items()},
        "hosts": [asdict(host) for host in summary.hosts],
        "last_change_at": summary.last_change_at,
    }
    if jobs is not None:
        content["jobs"] = [asdict(job) | {"state": job.state.value} for job in jobs]
    return json.dumps(content, indent=2) + "\n"


def _headline(summary: RunSummary, now: float) -> str:
    run = summary.run
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.began_at))
    end = {RunState.RUNNING: now, RunState.INTERRUPTED: summary.last_change_at}.get(run.state, run.ended_at or now)
    state = {
        RunState.RUNNING: f"running on {run.master_host} (pid {run.master_pid}) for",
        RunState.FAILED: f"failed (exit code {run.exit_code}) after",
    }.get(run.state, f"{run.state.value} after")
    elapsed = format_duration(max(0.0, end - run.began_at))
    names = f"{run.recipe}, job {run.job_name}, started {began}, {state} {elapsed}"
    return one_line(f"{names}: {_counts(summary)}")


def _counts(summary: RunSummary) -> str:
    counts = summary.counts
    total = sum(counts.values())
    done = counts.get(JobState.OK, 0)
    running = counts.get(JobState.RUNNING, 0) + counts.get(JobState.DISPATCHED, 0)
    waiting = counts.get(JobState.PENDING, 0)
    failed = total - done - running - waiting
    numbers = ((failed, "failed"), (running, "running"), (waiting, "waiting"))
    return ", ".join([f"{done} of {total} done", *(f"{number} {what}" for number, what in numbers if number)])


def _host_table(hosts: Sequence[HostRow]) -> Table:
    rows = [(h.host, h.state, str(h.running), str(h.done), str(h.failed), _number(h.cores), h.verdict) for h in hosts]
    return _table(_HOST_HEADER, rows, right=(2, 3, 4, 5))


def _job_table(jobs: Sequence[JobRow], now: float | None) -> Table:
    return _table(_JOB_HEADER, [_job_cells(job, now) for job in jobs], right=(0, 4, 5, 6))


def _job_cells(job: JobRow, now: float | None) -> tuple[str, ...]:
    duration_s = job.duration_s
    if job.state is JobState.RUNNING and job.started_at is not None and now is not None:
        duration_s = max(0.0, now - job.started_at)
    duration = "" if duration_s is None else format_duration(duration_s)
    exit_status = _number(job.returncode)
    return (str(job.job_id), job.name, job.state.value, job.host, str(job.attempts), duration, exit_status, job.message)


def _number(number: int | None) -> str:
    return "" if number is None else str(number)


def _table(header: tuple[str, ...], rows: Sequence[Sequence[str]], right: Sequence[int]) -> Table:
    return Table(header, tuple(tuple(map(one_line, row)) for row in rows), frozenset(right))


def _rich_table(table: Table) -> Any:
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, title in enumerate(table.header):
        shown.add_column(title, justify="right" if number in table.right else "left", overflow="fold")
    for row in table.rows:
        # Text, not str: square brackets in a name or message are no markup.
        shown.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    return shown
