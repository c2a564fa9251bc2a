"""
What every peer is given to do, and the check that it was done.

Standard library only: the driver imports this, and so does each peer's own program, on which it is `works`.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BEGAN = "PEER_BEGAN_S"  # in the environment: time.monotonic() at the start, s
_LINE = re.compile(rb"line of job (\d+)")


@dataclass(frozen=True)
class Work:
    """
    `count` jobs of one kind.

    Attributes:
        kind: `log_line`, `import_numpy`, `touch_out`, `true`, or `example`, which is one job.
        folder: Where the files are, and where a peer may keep what it needs. No blank in it: make has no word for one.
        at_once: Jobs that run at the same time, on each host.
    """

    kind: str
    count: int
    folder: Path
    at_once: int

    @property
    def inputs(self) -> list[str]:
        """(count,) absolute paths of the files of `touch_out`."""
        return [str(self.folder / f"{number:06}.inp") for number in range(self.count)]

    @property
    def arguments(self) -> list[str]:
        """(count,) the argument of each job."""
        if self.kind == "example":
            return ["example_argument"]
        return self.inputs if self.kind == "touch_out" else [str(number) for number in range(self.count)]

    @property
    def command(self) -> list[str]:
        """The words before a job's argument."""
        if self.kind == "true":
            return ["/bin/true"]
        return [sys.executable, str(HERE / ("log_line.py" if self.kind == "example" else f"{self.kind}.py"))]

    def prepare(self) -> None:
        """Make the input files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.kind == "touch_out":
            for path in self.inputs:
                Path(path).touch()

    def problem(self, outputs: Iterable[Path]) -> str:
        """
        Say what is wrong with what was done; empty if nothing is.

        Args:
            outputs: Files in which the jobs' lines must be, all together.
        """
        if self.kind == "touch_out":
            done = {path.name for path in self.folder.glob("*.out")}
            missing = sum(Path(path).stem + ".out" not in done for path in self.inputs)
            return f"{missing} of {self.count} .out files are not there" if missing else ""
        if self.kind == "true":
            return ""  # only the exit status tells
        if self.kind == "example":
            return "" if any(b"example_argument" in path.read_bytes() for path in outputs) else "its line is not there"
        seen = {int(number) for path in outputs for number in _LINE.findall(path.read_bytes())}
        missing = len(set(range(self.count)) - seen)
        return f"{missing} of {self.count} lines are not there" if missing else ""


def read_words(description: str | None, *flags: str) -> tuple[Work, argparse.Namespace]:
    """Read the command line of a peer's program; `flags` are options it has beside these."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("kind")
    parser.add_argument("count", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("at_once", type=int)
    for flag in flags:
        parser.add_argument(flag, action="store_true")
    options = parser.parse_args()
    return Work(options.kind, options.count, options.folder, options.at_once), options


class Clock:
    """When a peer was started, when it was ready for the first job, and when the last had ended."""

    def __init__(self) -> None:
        """Take the start from the driver, which is before Python and its imports."""
        self._began_s = self._ready_s = float(os.environ.get(BEGAN, time.monotonic()))

    def ready(self, ready_s: float | None = None) -> None:
        """All is up, jobs can come: now, if they could not earlier."""
        self._ready_s = time.monotonic() if ready_s is None else ready_s

    def tell(self, ended_s: float | None = None) -> None:
        """Print for the driver how long the start took and how long the jobs; they have ended now, if not earlier."""
        ended_s = time.monotonic() if ended_s is None else ended_s
        print(json.dumps({"start_s": self._ready_s - self._began_s, "work_s": ended_s - self._ready_s}), flush=True)


def touch_out(path: str) -> None:
    """Make the .out file of an .inp file, as the classic comparison does."""
    os.system("touch " + path.removesuffix(".inp") + ".out")  # noqa: S605
