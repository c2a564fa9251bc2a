"""Writing the answer of a command to stdout."""

from pipeline.run.stdio import write_stderr_lines, write_stdout_lines

__all__ = ["write_output"]


def write_output(text: str) -> int:
    """Write to stdout; returns the exit status: 1, with a line on stderr, if that is not possible."""
    problem = write_stdout_lines(text.splitlines())
    if problem:
        write_stderr_lines([f"stdout: cannot be written: {problem}"])
    return 1 if problem else 0
