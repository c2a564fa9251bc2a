"""Writing the answer of a command to stdout, whatever stdout is."""

import os
import sys

__all__ = ["write_output"]


def write_output(text: str) -> int:
    """
    Write to stdout and flush; characters it cannot encode are written as escapes.

    Returns:
        0; also if the reader has seen enough (`| head -1`) or stdout is closed. 1 with a line on stderr if it
        cannot be written, e.g. because the disk is full.
    """
    if sys.stdout is None:  # started with stdout closed
        return 0
    try:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
    except OSError as error:
        _silence_stdout()
        if sys.stderr is not None:
            print(f"stdout: cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _silence_stdout() -> None:
    """What is left in the buffer would raise again when the interpreter ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
