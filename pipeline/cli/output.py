"""Writing the answer of a command to stdout."""

from collections.abc import Iterable

from pipeline.run.stdio import write_stderr_lines, write_stdout_exactly, write_stdout_lines

__all__ = ["write_exactly", "write_output"]


def write_output(text: str) -> int:
    """Write to stdout; returns the exit status: 1, with a line on stderr, if that is not possible."""
    return _status(write_stdout_lines(text.splitlines()))


def write_exactly(pieces: Iterable[str]) -> int:
    """Write what another program reads, byte for byte and as it comes; returns the exit status as `write_output`."""
    return _status(write_stdout_exactly(pieces))


def _status(problem: str) -> int:
    if problem:
        write_stderr_lines([f"stdout: cannot be written: {problem}"])
    return 1 if problem else 0
