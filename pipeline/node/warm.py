"""
The program of a warm process: it imports what a node script imports, and forks for each of the script's jobs.

    python warm.py CHANNEL SCRIPT

CHANNEL is a socket from the agent, see `warm_process.py`. The child of a fork becomes the job: it leaves the loop, runs
the script as `__main__` and ends as an interpreter does.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # see node/script.py
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any


def load_ours(script: str) -> list[ModuleType]:
    """Import our modules and leave no trace of it: a script may have another `pipeline`, or none."""
    here = os.path.dirname(os.path.abspath(__file__))
    has_own = sys.path[:1] == [here]  # not so with PYTHONSAFEPATH
    sys.path[: int(has_own)] = [os.path.dirname(os.path.dirname(here))]
    from pipeline.node import warm_job, warm_server

    for name in [name for name in sys.modules if name.partition(".")[0] == "pipeline"]:
        del sys.modules[name]
    sys.path[:1] = [os.path.dirname(os.path.realpath(script))] if has_own else []
    return [warm_server, warm_job]


if __name__ == "__main__":
    server, job = load_ours(sys.argv[2])
    code: Any = server.serve(int(sys.argv[1]), sys.argv[2])  # comes back in the child of a fork only
    try:
        exec(code, job.namespace())  # noqa: S102  # the script, as `python SCRIPT` would
    except BaseException as error:  # also SystemExit: what it means is the interpreter's to say
        if not job.can_leave_with(error):
            raise
    job.leave()
