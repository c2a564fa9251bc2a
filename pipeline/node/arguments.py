"""
Arguments that argv cannot carry.

Linux takes at most 128 KiB in one argument (MAX_ARG_STRLEN, execve(2)) and knows only text. Longer arguments, a NUL
in one, and values of other types travel in a file in the agent's private directory. Started with such a file this
module is the program: it puts the words into `sys.argv` and runs the script as `__main__`.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False  # see node/script.py
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ARGUMENTS_FILE", "fits_argv", "read_arguments", "write_arguments"]

ARGUMENTS_FILE = "PIPELINE_ARGUMENTS"  # environment variable: path of the file

_MAX_WORD_BYTES = (128 << 10) - 1
_MAX_ARGV_BYTES = 512 << 10  # the kernel's limit is a quarter of the stack limit, 2 MiB by default


def fits_argv(words: list[str]) -> bool:
    """Whether execve(2) takes these words."""
    sizes = [len(word.encode("utf-8", "surrogateescape")) for word in words]
    total = sum(sizes) + 9 * len(sizes)  # a closing NUL and a pointer each
    return max(sizes, default=0) <= _MAX_WORD_BYTES and total <= _MAX_ARGV_BYTES and not any("\0" in w for w in words)


def write_arguments(path: str, words: list[str], arguments: list[Any]) -> None:
    """Keep argv[1:] and the typed arguments for the script, readable by its user only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        json.dump({"words": words, "arguments": arguments}, file)


def read_arguments(path: str) -> dict[str, Any]:
    """Return what `write_arguments` kept: `words` and `arguments`."""
    with open(path, encoding="ascii") as file:
        kept: dict[str, Any] = json.load(file)
    return kept


def _main() -> None:
    import runpy  # only here: every node script imports this module

    script = sys.argv[1]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    sys.argv[1:] = read_arguments(os.environ[ARGUMENTS_FILE])["words"]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    _main()
