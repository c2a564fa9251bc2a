"""
The guardian: the first process of a session on a host.

It starts the agent and waits for it. Whatever happens to the agent, every process that descends from it is gone
before the guardian leaves: as child subreaper it inherits those whose parents died. When the guardian itself is
killed, the agent does this in its place.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

from pipeline.node.agent import Agent
from pipeline.node.processes import become_subreaper, descendants, end_processes, orphans, snapshot
from pipeline.node.spawn import inherit_nothing

__all__ = ["guard"]

_LOOK_S = 5.0
_SWEEP_S = 10.0
_INITSCRIPT_S = 20.0


def guard(directory: str, setup: dict[str, Any]) -> int:
    """
    Run an agent over this process's stdin and stdout, and leave nothing behind.

    Args:
        directory: Private, holds the package; removed at the end.
        setup: See `Agent`; initscript, engine_ppath and engine_lpath make the environment of its jobs.
    """
    try:
        return _guard(directory, setup)
    finally:  # the agent never gets here
        _remove(directory)


def _guard(directory: str, setup: dict[str, Any]) -> int:
    stdin, stdout = _take_over_streams()
    setup["environment"] = _environment(setup)
    setup["python"] = setup["python"] or sys.executable
    watched, held = os.pipe()
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    is_complete = become_subreaper()
    guardian = os.getpid()
    pid = os.fork()
    if not pid:
        os.close(held)
        status = _be_agent((stdin, stdout, watched), directory, setup, _hello(setup, is_complete))
        if os.getppid() != guardian:
            _sweep()
            _remove(directory)
        os._exit(status)
    for descriptor in (watched, stdin, stdout):
        os.close(descriptor)
    status = _wait_for(pid)
    _sweep()
    return status


def _remove(directory: str) -> None:
    import shutil  # not needed before: each import delays the first job

    shutil.rmtree(directory, ignore_errors=True)


def _take_over_streams() -> tuple[int, int]:
    """Keep the session to ourselves: a stray print must not end up among the frames."""
    inherit_nothing()
    stdin, stdout = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return stdin, stdout


def _be_agent(descriptors: tuple[int, int, int], directory: str, setup: dict[str, Any], hello: dict[str, Any]) -> int:
    """Return the exit status of this process; it must not get past here into the guardian's code."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    # Without it a job whose warm process has died would be nobody's child.
    if not become_subreaper():
        setup["warm"] = "off"
    try:
        Agent(descriptors, directory, setup).serve(hello)
    except BaseException:  # noqa: BLE001  # also SystemExit: nothing may get past here
        import traceback

        traceback.print_exc()
        return 1
    finally:
        sys.stderr.flush()  # os._exit does not, and before Python 3.9 stderr is buffered unless it is a terminal
    return 0


def _environment(setup: dict[str, Any]) -> dict[str, str]:
    """Return the environment of all jobs: ours, the initscript's, then the configured paths first."""
    environment = dict(os.environ)
    if setup.get("initscript"):
        environment = _source(setup["initscript"])
    for name, key in (("PYTHONPATH", "engine_ppath"), ("LD_LIBRARY_PATH", "engine_lpath")):
        if setup.get(key):
            environment[name] = os.pathsep.join(filter(None, (setup[key], environment.get(name))))
    return environment


def _source(initscript: str) -> dict[str, str]:
    """Return the environment a POSIX shell has after reading a script."""
    # The script's path is an argument, not part of the text that the shell reads.
    words = ["/bin/sh", "-c", '. "$1" >/dev/null && exec env -0', "sh", initscript]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_INITSCRIPT_S)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"initscript {initscript} did not end in {_INITSCRIPT_S:.0f} s") from None
    if done.returncode:
        raise SystemExit(f"initscript {initscript} failed with exit status {done.returncode}")
    pairs = (line.partition(b"=") for line in done.stdout.split(b"\0") if line)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def _hello(setup: dict[str, Any], is_complete: bool) -> dict[str, Any]:
    has_affinity = hasattr(os, "sched_getaffinity")
    return {
        "token": setup["token"],
        "hostname": os.uname().nodename,
        "python": ".".join(map(str, sys.version_info[:3])),
        "executable": sys.executable,
        "cores": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1,
        "pid": os.getpid(),
        "time": time.time(),
        "kills_all": is_complete,
    }


def _wait_for(pid: int) -> int:
    """Return how the agent ended; bounded waits, so that a lost signal costs seconds, not for ever."""
    while True:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended == pid:
            return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if not ended:
            signal.sigtimedwait([signal.SIGCHLD], _LOOK_S)


def _sweep() -> None:
    """Kill what the agent left, until we have no child: whoever loses its parent becomes one."""
    deadline_s = time.monotonic() + _SWEEP_S
    while _reap() and time.monotonic() < deadline_s:
        # Our children once more: those that fork all the time are not where the snapshot saw them.
        end_processes(descendants([os.getpid()], snapshot()) | (orphans(()) or set()), signal.SIGKILL)
        signal.sigtimedwait([signal.SIGCHLD], 0.02)


def _reap() -> bool:
    """Take note of the children that have ended; tells whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True
