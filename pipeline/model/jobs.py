"""Jobs, their states, and how they ended."""

import enum
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
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
        left_behind: Processes that outlived its leader and were ended.
        survivors: Pids of those that could not be killed.
        is_warm: It was forked from a warm process.
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
    left_behind: int = 0
    survivors: tuple[int, ...] = ()
    is_warm: bool = False


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
        warm: False starts a Python for it in any case; else a script may be forked from one that has its imports done.
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
    warm: bool = field(default=True, kw_only=True)
    results: dict[str, Any] = field(default_factory=dict, init=False)

    is_script = True

    def __post_init__(self) -> None:
        """Check everything that can be checked before anything is started."""
        hosts = _checked_hosts(self.host, self.command)
        words = _split(self.command)
        if not words or not words[0]:
            raise InputError(f"job on {hosts[0]}: empty command; give a program and its words")
        what = f"job {words[-1]!r}"
        if isinstance(self.arguments, (str, bytes)) or not isinstance(self.arguments, Iterable):
            raise InputError(f"{what}: arguments is {self.arguments!r}; expected a list, e.g. ['a', 'b']")
        _check_numbers(what, self)
        checked = {
            "host": hosts[0] if isinstance(self.host, str) else hosts,
            "command": words,
            "arguments": tuple(_checked_argument(what, value) for value in self.arguments),
            "name": _shown(self.name or _name_of(words, self.is_script)),
            "cwd": None if self.cwd is None else _checked_text(f"{what}: cwd", self.cwd, "a directory"),
            "environment": _checked_environment(what, self.environment),
            "outputs": _checked_outputs(what, self.outputs),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

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


def _shown(name: str) -> str:
    """A name stands in log lines: what is not fit for one is replaced."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _checked_hosts(host: str | Sequence[str], command: object) -> tuple[str, ...]:
    hosts = (host,) if isinstance(host, str) or not isinstance(host, Iterable) else tuple(host)
    if not hosts:
        raise InputError(f"job {command!r}: no host given; name one host or several")
    return tuple(check_host_name(name) for name in hosts)


def _checked_text(what: str, value: Any, expected: str) -> str:
    """Return text, also of a path object, that a program can be given."""
    text = value.__fspath__() if hasattr(value, "__fspath__") else value
    if not isinstance(text, str) or "\0" in text:
        raise InputError(f"{what}: {value!r}; expected {expected}")
    return text


def _checked_environment(what: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Checked here because on the host it would fail far away from the mistake."""
    if not isinstance(environment, Mapping):
        raise InputError(
            f"{what}: environment: {environment!r}; expected text by name, e.g. {{'OMP_NUM_THREADS': '4'}}"
        )
    wrong = [name for name in environment if not isinstance(name, str) or not name or "=" in name or "\0" in name]
    if wrong:
        raise InputError(f"{what}: environment: name {wrong[0]!r}; expected text without '='")
    return {name: _checked_text(f"{what}: environment: {name}", environment[name], "text") for name in environment}


def _checked_outputs(what: str, outputs: Sequence[str]) -> tuple[str, ...]:
    expected = "a list of paths"
    if isinstance(outputs, (str, bytes)) or not isinstance(outputs, Iterable):
        raise InputError(f"{what}: outputs: {outputs!r}; expected {expected}")
    return tuple(_checked_text(f"{what}: outputs", path, expected) for path in outputs)


def _split(command: str | Sequence[str]) -> tuple[str, ...]:
    if not isinstance(command, str):
        words = command if isinstance(command, Iterable) else [command]
        return tuple(_checked_text("job command", word, "words: a string or a list of strings") for word in words)
    _checked_text("job command", command, "words: a string or a list of strings")
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise InputError(f"job command {command!r}: {error}; quote it like in a shell or give a list") from None


def _name_of(words: Sequence[str], is_script: bool) -> str:
    """The script's name: the second word of `python script.py`, else the first."""
    word = words[1] if is_script and len(words) > 1 and words[0] == "python" else words[0]
    base = word.rstrip("/").rpartition("/")[2]
    return base.removesuffix(".py") or base or word


def _check_numbers(what: str, job: ComputeJob) -> None:
    cores = job.resources.get("cores", 1)
    if not _is_number(cores, (int,), above=0):
        raise InputError(f"{what}: resources['cores'] is {cores!r}; expected an integer >= 1")
    if job.timeout_s is not None and not _is_number(job.timeout_s, (int, float), above=0):
        raise InputError(f"{what}: timeout_s is {job.timeout_s!r}; expected seconds > 0")
    if job.retries is not None and not _is_number(job.retries, (int,), above=-1):
        raise InputError(f"{what}: retries is {job.retries!r}; expected an integer >= 0")


def _is_number(value: Any, types: tuple[type, ...], *, above: float) -> bool:
    """Whether it is a number of these types, and greater; True and nan are no numbers here."""
    is_of_type = isinstance(value, types) and not isinstance(value, bool)
    return is_of_type and bool(value > above)


def _checked_argument(what: str, value: Any) -> Any:
    """Bytes and paths become text that gives the same bytes back in argv; anything else must be a JSON value."""
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        raise InputError(
            f"{what}: argument {value!r} is a {type(value).__name__}; "
            "expected a string or a JSON value (number, bool, None, list, dict)"
        ) from None
    return value
