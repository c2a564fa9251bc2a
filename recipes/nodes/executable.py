"""
Run one program on one file.

Ends as the program ends: with its exit status, or killed by the signal that killed it.
"""

import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

from pipeline import Node


class executable(Node):
    def run(self, words, environment, stdout=""):
        """Run `words`; with `stdout`, what it prints becomes that file, only if it ends with status 0."""
        self.logger.debug("running %s", words)
        try:
            returncode = run_into(stdout, words, environment) if stdout else run_program(words, environment)
        except OSError as error:
            print("%s: %s" % (error.filename or words[0], error.strerror), file=sys.stderr)
            return 1
        if returncode < 0:
            die_of(-returncode)
        return returncode


def run_into(path, words, environment):
    # Beside the target, so that renaming it is one step: a reader sees all of it or nothing.
    partial = os.path.join(os.path.dirname(path), ".pipeline-%d-%s.partial" % (os.getpid(), os.urandom(4).hex()))
    with open(partial, "xb") as output, removed_at_the_end(partial):
        returncode = run_program(words, environment, output)
        if returncode == 0:
            os.fsync(output.fileno())
            os.replace(partial, path)
    return returncode


def run_program(words, environment, stdout=None):
    # No timeout here: the agent ends this process and all below it when the job's time is up.
    return subprocess.call(words, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=stdout)


@contextmanager
def removed_at_the_end(path):
    """Remove the file if it is still there, also when the agent ends the job."""
    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)


def leave(number, frame):
    signal.signal(number, signal.SIG_IGN)  # another one would cut short what `finally` does
    sys.exit(128 + number)


def die_of(number):
    """The master then tells of the signal as if there were no script in between."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the program's core is of use, that of this script is not
    with suppress(OSError):  # KILL has no other action
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    sys.exit(executable.main())
