"""Run the jobs of a JSON file: arguments are this file, and where to write their results and our peak memory."""

import json
import sys
from pathlib import Path

from pipeline import BaseRecipe, CommandJob, ComputeJob, RemoteCommand

KINDS = {"script": ComputeJob, "command": CommandJob}


class run_jobs(BaseRecipe, RemoteCommand):
    def go(self):
        super().go()
        jobs_file, results_file = self.inputs["args"]
        jobs = [KINDS[job.pop("kind")](**job) for job in json.loads(Path(jobs_file).read_text())]
        self._schedule_jobs(jobs)
        told = {"results": [job.results for job in jobs], "peak_bytes": peak_bytes()}
        Path(results_file).write_text(json.dumps(told))
        return 1 if self.error.is_set() else 0


def peak_bytes():
    """Return the largest resident size so far; not of getrusage(2), which counts what forked us as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


if __name__ == "__main__":
    sys.exit(run_jobs().main())
