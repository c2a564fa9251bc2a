"""Run the jobs of a JSON file and write their results to another: arguments are the two files."""

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
        Path(results_file).write_text(json.dumps([job.results for job in jobs]))
        return 1 if self.error.is_set() else 0


if __name__ == "__main__":
    sys.exit(run_jobs().main())
