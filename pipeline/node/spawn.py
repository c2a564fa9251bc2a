"""
Starting a program: in a session of its own, never through a shell, with the descriptors it is given and no others.

`posix_spawn(3)` costs the agent 45 us where `Popen` takes 90 (and 400 before Python 3.10, which forks). What it cannot
do or does not start is left to Popen, whose errors are the ones that are told.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

__all__ = ["inherit_nothing", "spawn"]

_ANYBODY_LEAVES_OPEN = range(256)
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def inherit_nothing() -> None:
    """Keep what this process was started with from those it starts, but for the standard streams."""
    try:
        descriptors = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        descriptors = list(_ANYBODY_LEAVES_OPEN)
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.set_inheritable(descriptor, descriptor <= 2)


def spawn(words: list[str], environment: dict[str, str], cwd: str | None, descriptors: list[int]) -> int:
    """
    Start a program and return its pid; who starts it has to reap it.

    Args:
        words: argv; the program is looked for in the PATH of `environment`.
        environment: All of it.
        cwd: Its working directory, if not ours.
        descriptors: For its standard output, for its standard error, and those that it gets under the same number.

    Raises:
        OSError, ValueError, TypeError: As `subprocess.Popen` does.
    """
    if cwd is None:
        # NotImplementedError: a C library without POSIX_SPAWN_SETSID.
        with contextlib.suppress(OSError, ValueError, TypeError, NotImplementedError):
            return _posix_spawn(words, environment, descriptors)
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=descriptors[0],
        stderr=descriptors[1],
        cwd=cwd,
        env=environment,
        pass_fds=descriptors[2:],
        start_new_session=True,
    )
    process.returncode = 0  # else Popen would wait for it, too
    return process.pid


def _posix_spawn(words: list[str], environment: dict[str, str], descriptors: list[int]) -> int:
    for descriptor in descriptors[2:]:
        os.set_inheritable(descriptor, True)
    return os.posix_spawn(
        _find(words[0], environment),
        words,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, descriptors[0], 1),
            (os.POSIX_SPAWN_DUP2, descriptors[1], 2),
        ],
        setsid=True,
        setsigdef=_IGNORED_BY_PYTHON,
    )


def _find(program: str, environment: dict[str, str]) -> str:
    """Return the path of a program; empty if it is not there. `posix_spawnp(3)` would look in our own PATH."""
    if "/" in program:
        return program
    paths = (os.path.join(directory, program) for directory in os.get_exec_path(environment))
    return next((path for path in paths if os.access(path, os.X_OK)), "")
