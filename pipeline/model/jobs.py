"""Jobs, their states, and how they ended."""

import enum
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import InputError
from pipeline.model.hosts import check_host_name

__all__ = ["CommandJob", "ComputeJob", "JobState", "Outcome"]


class JobState(enum.Enum):
    """Where a job stands; a final state never changes."""

    PENDING = "PENDING"
    DISPATCHED = "DISPATCHED"
    RUNNING = "RUNNING"
    OK = "OK"
    FAILED = "FAILED"  # ended with a non-zero exit status, or an output it promised is not there
    SIGNALED = "SIGNALED"  # killed by a signal that we did not send
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"
    LOST = "LOST"  # its host went away, or could never be reached; what became of it is not known
    REFUSED = "REFUSED"  # the host never started it: no such script, too many processes

    @property
    def is_final(self) -> bool:
        """No event changes this state any more."""
        return self not in (JobState.PENDING, JobState.DISPATCHED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    How one attempt ended.

    Attributes:
        state: A final state.
        returncode: Exit status; negative is the number of the signal that killed it; None if it never ended.
        duration_s: From its start on the host to its end, on the host's monotonic clock.
        message: For anything but OK: one line that says what happened.
        max_rss_bytes, user_s, system_s: Of the job and the children it waited for (`getrusage(2)`).
        outputs: JSON values the node script set in `self.outputs`.
        stdout_tail, stderr_tail: The last 4 KiB of each, decoded as UTF-8 with surrogate escapes.
    """

    state: JobState
    returncode: int | None = None
    duration_s: float = 0.0
    message: str = ""
    max_rss_bytes: int = 0
    user_s: float = 0.0
    system_s: float = 0.0
    outputs: Mapping[str, Any] = field(default_factory=dict)
    stdout_tail: str = ""
    stderr_tail: str = ""


@dataclass(frozen=True, eq=False)
class ComputeJob:
    """
    One node script on one file.

    The script's argv is the words of `command`, then log host and log port, then the arguments.

    Attributes:
        host: A host's name, or names in order of preference: the job runs on one of them.
        command: Split like a shell splits words, or a sequence of words; never given to a shell. A leading
            `python` stands for `[deploy] python`, by default the interpreter the agent runs on.
        arguments: Strings reach `sys.argv[3:]` as they are; other JSON values arrive as `str(value)` there, and
            with their type in node scripts that use `Node.main()`.
        resources: `{'cores': n}` makes the job take n of its host's slots.
        name: For logs; by default the script's or program's file name without its ending.
        cwd: Directory on the host; by default where the agent starts (SSH: the home directory).
        environment: Added to the environment of the host.
        timeout_s: The job is ended and counts as TIMEOUT after so many seconds; None is `[remote] job_timeout`.
        retries: Further attempts after a failure; None is `[remote] retries`.
        outputs: Paths on the host that must exist when the job ends well; otherwise it FAILED.
        results: Filled in when the job is final; empty before.
    """

    host: str | Sequence[str]
    command: str | Sequence[str]
    arguments: Sequence[Any] = ()
    resources: Mapping[str, Any] = field(default_factory=dict)
    name: str = field(default="", kw_only=True)
    cwd: str | None = field(default=None, kw_only=True)
    environment: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    timeout_s: float | None = field(default=None, kw_only=True)
    retries: int | None = field(default=None, kw_only=True)
    outputs: Sequence[str] = field(default=(), kw_only=True)
    results: dict[str, Any] = field(default_factory=dict, init=False)

    is_script = True

    def __post_init__(self) -> None:
        """Check everything that can be checked before anything is started."""
        hosts = (self.host,) if isinstance(self.host, str) else tuple(self.host)
        if not hosts:
            raise InputError(f"job {self.command!r}: no host given; name one host or several")
        for host in hosts:
            check_host_name(host)
        words = _split(self.command)
        if not words or not words[0]:
            raise InputError(f"job on {hosts[0]}: empty command; give a program and its words")
        if isinstance(self.arguments, (str, bytes)):
            raise InputError(f"job {words[-1]!r}: arguments is {self.arguments!r}; expected a list, e.g. ['a', 'b']")
        _check_numbers(words[-1], self)
        arguments = tuple(_checked_argument(words[-1], value) for value in self.arguments)
        set_field = object.__setattr__
        set_field(self, "host", hosts[0] if isinstance(self.host, str) else hosts)
        set_field(self, "command", words)
        set_field(self, "arguments", arguments)
        set_field(self, "name", self.name or _name_of(words, self.is_script))

    @property
    def hosts(self) -> tuple[str, ...]:
        """(n,) hosts that may run it, most preferred first, n >= 1."""
        return (self.host,) if isinstance(self.host, str) else tuple(self.host)

    @property
    def cores(self) -> int:
        """Slots it takes on its host, at least 1."""
        return int(self.resources.get("cores", 1))

    @property
    def argument_words(self) -> list[str]:
        """Its arguments as they stand in argv."""
        return [value if isinstance(value, str) else str(value) for value in self.arguments]


class CommandJob(ComputeJob):
    """Any program with its arguments and nothing added; otherwise like a `ComputeJob`."""

    is_script = False


def _split(command: str | Sequence[str]) -> tuple[str, ...]:
    if not isinstance(command, str):
        return tuple(command)
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise InputError(f"job command {command!r}: {error}; quote it like in a shell or give a list") from None


def _name_of(words: Sequence[str], is_script: bool) -> str:
    """The script's name: the second word of `python script.py`, else the first."""
    word = words[1] if is_script and len(words) > 1 and words[0] == "python" else words[0]
    base = word.rstrip("/").rpartition("/")[2]
    return base.removesuffix(".py") or base


def _check_numbers(what: str, job: ComputeJob) -> None:
    cores = job.resources.get("cores", 1)
    if isinstance(cores, bool) or not isinstance(cores, int) or cores < 1:
        raise InputError(f"job {what!r}: resources['cores'] is {cores!r}; expected an integer >= 1")
    if job.timeout_s is not None and not job.timeout_s > 0:
        raise InputError(f"job {what!r}: timeout_s is {job.timeout_s!r}; expected seconds > 0")
    if job.retries is not None and (isinstance(job.retries, bool) or job.retries < 0):
        raise InputError(f"job {what!r}: retries is {job.retries!r}; expected an integer >= 0")


def _checked_argument(what: str, value: Any) -> Any:
    """Bytes become text that gives the same bytes back in argv; anything else must be a JSON value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        raise InputError(
            f"job {what!r}: argument {value!r} is a {type(value).__name__}; "
            "expected a string or a JSON value (number, bool, None, list, dict)"
        ) from None
    return value
