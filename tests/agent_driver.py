"""Drives a real agent as the master does: starts it, sends frames, reads frames, all within deadlines."""

import contextlib
import json
import os
import select
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.formats.frames import FrameReader, Header, encode_message
from pipeline.run.bundle import READY, agent_command, start_message

TIMEOUT_S = 60.0
_TOKEN = "0123456789abcdef"  # noqa: S105  # an echo mark, no secret

_SCRIPT = """
import os, signal, subprocess, sys, time
from pipeline import Node

class script(Node):
    def run(self, *args):
{body}

if __name__ == "__main__":
    sys.exit({end})
"""


def eventually(predicate: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
    """Wait until a condition holds and return what it gives; fail after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (found := predicate()):
        assert time.monotonic() < deadline_s, f"did not come true in {timeout_s} s"
        pause.wait(0.01)
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def write_script(directory: Path, body: str, *, main: bool = False, name: str = 'it\'s a "script"\n.py') -> str:
    """Write a node script whose `run(self, *args)` has this body; `main` ends it with the short form."""
    end = "script.main()" if main else "script(sys.argv[1], sys.argv[2]).run_with_logging(*sys.argv[3:])"
    lines = "\n".join(f"        {line}" for line in body.strip().splitlines())
    path = directory / name
    path.write_text(_SCRIPT.format(body=lines, end=end))
    return str(path)


@dataclass(frozen=True)
class Result:
    """What an agent told of one attempt."""

    header: Header
    body: dict[str, Any]
    out: bytes
    err: bytes
    records: list[dict[str, Any]]

    @property
    def state(self) -> str:
        """Return the state it reported."""
        return str(self.header["state"])

    @property
    def returncode(self) -> int:
        """Return the exit status, or minus the signal."""
        return int(self.header["returncode"])

    @property
    def outputs(self) -> dict[str, Any]:
        """Return what the script set."""
        return dict(json.loads(self.body["outputs"]))


class AgentDriver:
    """
    An agent on this machine.

    Attributes:
        process: The guardian.
        hello: What the agent said of itself.
        pids: Of each job, as the agent told it.
        kinds: Of each job, what came in which order: start, out, err, log, result.
        directory: Where it puts its private directory.
        notes: What it wants to have in the log.
    """

    def __init__(self, python: str, directory: Path, /, **setup: Any) -> None:
        """Start it on an interpreter; `setup` replaces what the master says by default."""
        self.directory = directory
        self.kinds: dict[int, list[str]] = defaultdict(list)
        self.pids: dict[int, int] = {}
        self.stats: dict[int, Any] = {}
        self.notes: list[str] = []
        self.has_said_bye = False
        self._output: dict[tuple[int, str], bytearray] = defaultdict(bytearray)
        self._records: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self._results: dict[int, tuple[Header, dict[str, Any]]] = {}
        self._last_id = self._seq = 0
        self._reader = FrameReader()
        self.errors = directory / "agent's stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                agent_command(None, is_local=True, interpreter=python),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "TMPDIR": str(directory)},
            )
        assert self.process.stdin
        assert self.process.stdout
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        self.hello = self._greet({**_default_setup(), **setup})

    def _greet(self, setup: dict[str, Any]) -> Header:
        received = self._read_to(b"", READY + b"\n")
        self._stdin.write(start_message(setup))
        received = self._read_to(received, f"\n{_TOKEN}\n".encode())
        messages = self._reader.feed(received)
        while not messages:
            messages = self._reader.feed(self._read())
        assert messages[0][0]["k"] == "hello"
        self._take(messages[1:])
        return messages[0][0]

    def _read_to(self, received: bytes, mark: bytes) -> bytes:
        while mark not in received:
            data = self._read()
            assert data, (received, self.errors.read_text())
            received += data
        return received.partition(mark)[2]

    def _read(self, timeout_s: float = TIMEOUT_S) -> bytes:
        assert select.select([self._stdout], [], [], timeout_s)[0], f"nothing from the agent in {timeout_s} s"
        return os.read(self._stdout.fileno(), 1 << 20)

    def send(self, header: Header, payload: Any = None) -> None:
        """Send one message; `payload` becomes JSON."""
        self._stdin.write(encode_message(header, b"" if payload is None else json.dumps(payload).encode()))

    def send_bytes(self, data: bytes) -> None:
        """Send what may be no message at all."""
        self._stdin.write(data)

    def start(self, words: list[str], *arguments: Any, script: bool = False, **options: Any) -> int:
        """Ask for a job and return its id; options: attempt, timeout_s, cwd, environment, outputs."""
        self._last_id += 1
        header = {"k": "run", "job": self._last_id, "attempt": options.pop("attempt", 1), "script": script}
        header["warm"] = options.pop("warm", True)
        task: dict[str, Any] = {
            "words": words,
            "arguments": list(arguments),
            "cwd": None,
            "environment": {},
            "outputs": [],
        }
        self.send({**header, "timeout_s": options.pop("timeout_s", None)}, {**task, **options})
        return self._last_id

    def run(self, words: list[str], *arguments: Any, **options: Any) -> Result:
        """Run a job to its end."""
        return self.result(self.start(words, *arguments, **options))

    def run_script(self, path: str, *arguments: Any, **options: Any) -> Result:
        """Run a node script to its end."""
        return self.run(["python", path], *arguments, script=True, **options)

    def result(self, job_id: int) -> Result:
        """Wait for the end of a job."""
        self.take_in_until(lambda: job_id in self._results)
        header, body = self._results[job_id]
        output = {kind: bytes(self._output[job_id, kind]) for kind in ("out", "err")}
        return Result(header, body, output["out"], output["err"], self._records[job_id])

    def wait_for_output(self, job_id: int, text: bytes) -> bytes:
        """Wait until the job has written this to its standard output; returns all of it."""
        self.take_in_until(lambda: text in self._output[job_id, "out"] or job_id in self._results)
        assert text in self._output[job_id, "out"], self._results[job_id]
        return bytes(self._output[job_id, "out"])

    def output(self, job_id: int) -> bytes:
        """Return what the job has written to its standard output until now."""
        return bytes(self._output[job_id, "out"])

    def wait_for_pids(self, job_id: int) -> list[int]:
        """Wait for a line `pids N N ...` on the job's standard output."""
        line = self.wait_for_output(job_id, b"\n").partition(b"\n")[0]
        return [int(word) for word in line.split()[1:]]

    def take_in_until(self, predicate: Callable[[], bool]) -> None:
        """Take in what comes, acknowledging results, until a condition holds."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while not predicate():
            data = self._read(max(0.0, deadline_s - time.monotonic()))
            assert data, f"the agent is gone: {self.errors.read_text()}"
            self._take(self._reader.feed(data))

    def read_to_end(self) -> None:
        """Take in everything until the agent closes its end."""
        while data := self._read():
            self._take(self._reader.feed(data))

    def _take(self, messages: list[tuple[Header, bytes]]) -> None:
        for header, payload in messages:
            if header["k"] in ("start", "output", "result"):
                self._seq += 1
                assert header["seq"] == self._seq
            if header["k"] == "output":
                self._take_output(header["p"], payload)
            elif header["k"] in ("start", "result"):
                self.kinds[header["job"]].append(header["k"])
            if header["k"] == "start":
                self.pids[header["job"]] = header["pid"]
            elif header["k"] == "result":
                self._results[header["job"]] = header, json.loads(payload)
                with contextlib.suppress(BrokenPipeError):  # it may have left already
                    self.send({"k": "ack", "seq": header["seq"]})
            elif header["k"] == "note":
                self.notes.append(json.loads(payload))
            elif header["k"] == "stat":
                self.stats[header["id"]] = json.loads(payload)
            self.has_said_bye |= header["k"] == "bye"

    def _take_output(self, pieces: list[tuple[int, int, str, int]], payload: bytes) -> None:
        position = 0
        for job_id, _, kind, size in pieces:
            data = payload[position : position + size]
            position += size
            self.kinds[job_id].append(kind)
            if kind == "log":
                self._records[job_id].append(json.loads(data))
            else:
                self._output[job_id, kind] += data
        assert position == len(payload)

    def close_input(self) -> None:
        """Be gone like a master that was killed."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Wait for the guardian's end."""
        return self.process.wait(timeout_s)

    def private_directories(self) -> list[Path]:
        """Return what it has left in its directory."""
        return sorted(self.directory.glob("pipeline-*"))

    def close(self) -> None:
        """End it, whatever state it is in."""
        self.close_input()
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            raise
        finally:
            self._stdout.close()


@contextlib.contextmanager
def running_agent(python: str, directory: Path, /, **setup: Any) -> Iterator[AgentDriver]:
    """Run an agent and end it."""
    agent = AgentDriver(python, directory, **setup)
    try:
        yield agent
    finally:
        agent.close()


def _default_setup() -> dict[str, Any]:
    times = {"batch_interval": 0.02, "beat_interval": 5.0, "lease": 60.0, "kill_grace": 1.0}
    return {"token": _TOKEN, "host": "lce001", "python": None, "warm": "off", "batch_bytes": 64 << 10, **times}
