"""`python -m pipeline.testing N`: N throw-away SSH hosts until Ctrl-C."""

import argparse
import os
import select
import signal
import stat
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pipeline.errors import PipelineError, UsageError
from pipeline.testing.cluster import SshHosts, ssh_hosts

__all__ = ["main"]


class _Ended(BaseException):
    """A signal asks us to go."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}")


def main(words: list[str] | None = None) -> int:
    """Run until Ctrl-C, SIGTERM, or the end of stdin if that is a pipe; return the exit status."""
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    try:
        given = _parse(words)
        with ssh_hosts(given.n) as hosts:
            _tell(hosts, given.config)
            _wait_for_the_end()
    except _Ended:
        return 0
    except PipelineError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    # Once only: a second Ctrl-C must not cut the clearing up short.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Ended


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m pipeline.testing", description="Start N throw-away SSH hosts on this machine.")
    parser.add_argument("n", metavar="N", type=int, help="number of hosts, named node1 ... nodeN")
    parser.add_argument("--config", metavar="FILE", help="write the pipeline.cfg there instead of to stdout")
    return parser.parse_args(words)


def _tell(hosts: SshHosts, config: str | None) -> None:
    text = f"# {', '.join(hosts.names)}; log in by hand: ssh -F {hosts.ssh_config} {hosts.names[0]}\n"
    text += hosts.config_text()
    if config is None:
        print(text, end="", flush=True)
        return
    try:
        Path(config).write_text(text)
    except OSError as error:
        raise UsageError(f"--config {config}: {error.strerror}; give a file that can be written") from None
    print(f"{len(hosts.hosts)} hosts are up; their pipeline.cfg is {config}", flush=True)


def _wait_for_the_end() -> None:
    # A signal between our last bytecode and the system call would not end select(): hence the wake-up descriptor.
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    # A parent that holds our stdin as a pipe and dies takes the hosts with it. A terminal, /dev/null or a file at its
    # end says nothing about a parent.
    is_held = sys.stdin is not None and stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode)
    waiting_for = [wake_read, sys.stdin.fileno()] if is_held else [wake_read]
    while ready := select.select(waiting_for, [], [])[0]:
        if not os.read(ready[-1], 4096):
            return


if __name__ == "__main__":
    sys.exit(main())
