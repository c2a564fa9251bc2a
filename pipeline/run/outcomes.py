"""From the frame that ends an attempt to what the user reads of it."""

import json
import math
import signal
from collections.abc import Mapping
from typing import Any

from pipeline.errors import FrameError
from pipeline.formats.frames import Header
from pipeline.model.jobs import ComputeJob, JobState, Outcome
from pipeline.run.textfiles import one_line

__all__ = ["describe_failure", "job_results", "read_outcome"]

_MAX_MESSAGE = 1000
_MAX_LINE = 200
_MAY_NOT_HAVE_BEGUN = (JobState.CANCELLED, JobState.TIMEOUT)


def read_outcome(header: Header, payload: bytes) -> Outcome:
    """
    Return what a `result` frame says.

    Raises:
        FrameError: If the host sent something else than a result.
    """
    try:
        state = JobState(header["state"])
        if state is JobState.REFUSED or (state in _MAY_NOT_HAVE_BEGUN and "returncode" not in header):
            return Outcome(state, message=one_line(str(header["message"])[:_MAX_MESSAGE]))
        body = json.loads(payload.decode())
        outcome = Outcome(
            state=state,
            returncode=int(header["returncode"]),
            duration_s=_seconds(header["duration_s"]),
            max_rss_bytes=int(header["max_rss_bytes"]),
            user_s=_seconds(header["user_s"]),
            system_s=_seconds(header["system_s"]),
            outputs=dict(json.loads(body["outputs"])),
            stdout_tail=str(body["stdout_tail"]),
            stderr_tail=str(body["stderr_tail"]),
            message=_what_happened(state, header, body),
            left_behind=int(header["left_behind"]),
            survivors=tuple(int(pid) for pid in header["survivors"]),
            is_warm=header.get("warm") is True,
        )
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise FrameError(f"not a result: {type(error).__name__} {str(error)[:_MAX_LINE]!r}") from None
    if not state.is_final:
        raise FrameError(f"not a result: state {state.value}")
    return outcome


def describe_failure(job_id: int, job: ComputeJob, host: str | None, reason: str, log_path: str) -> str:
    """Return the one line that tells of a failed job: who, where, what, and where to read on."""
    where = host or " or ".join(job.hosts)
    return f"job {job_id} ({job.name}) on {where}: {reason}" + (f"; log: {log_path}" if log_path else "")


def job_results(job_id: int, host: str | None, attempts: int, outcome: Outcome) -> dict[str, Any]:
    """Return what `ComputeJob.results` holds when the job is final: the node's outputs, and then ours."""
    return {
        **outcome.outputs,
        "job_id": job_id,
        "status": outcome.state.value,
        "returncode": outcome.returncode,
        "job_duration": outcome.duration_s,
        "host": host,
        "attempts": attempts,
        "max_rss_bytes": outcome.max_rss_bytes,
        "user_s": outcome.user_s,
        "system_s": outcome.system_s,
        "stdout_tail": outcome.stdout_tail,
        "stderr_tail": outcome.stderr_tail,
        "warm": outcome.is_warm,
        "message": outcome.message,
    }


def _seconds(number: Any) -> float:
    seconds = float(number)
    if not 0.0 <= seconds < math.inf:  # not so of NaN
        raise ValueError(f"a duration of {seconds} s")
    return seconds


def _what_happened(state: JobState, header: Header, body: Mapping[str, Any]) -> str:
    survivors = header["survivors"]
    left = f"; processes that cannot be killed: {', '.join(map(str, survivors))}" if survivors else ""
    if state is JobState.OK:
        return left.removeprefix("; ")
    returncode, duration = header["returncode"], f"after {header['duration_s']:.1f} s"
    if state is JobState.SIGNALED:
        what = f"killed by {_signal_name(-returncode)} {duration}"
    elif state is JobState.TIMEOUT:
        what = f"ended by us {duration}: over its time"
    elif state is JobState.CANCELLED:
        what = f"cancelled {duration}"
    elif header["missing"] and not returncode:
        what = f"exit status 0 {duration}, but its output {header['missing'][0]!r} is not there"
    else:
        broke = one_line(str(header.get("channel_error") or "")[:_MAX_LINE])
        what = f"exit status {returncode} {duration}" + (f", but its log channel broke: {broke}" if broke else "")
    last = _last_line(body)
    return what + (f'; last line: "{last}"' if last else "") + left


def _last_line(body: Mapping[str, Any]) -> str:
    """The error a node script told of, else the last that it wrote."""
    for key in ("error", "stderr_tail", "stdout_tail"):
        lines = [line.strip() for line in str(body.get(key) or "").splitlines() if line.strip()]
        if lines:
            return one_line(lines[-1][:_MAX_LINE])
    return ""


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
