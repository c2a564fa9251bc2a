"""Start two jobs that tell their pids in the file of args, a FIFO, and sleep for long."""

import sys

from pipeline import BaseRecipe, BoolField, ComputeJob, RemoteCommand


class sleeper(BaseRecipe, RemoteCommand):
    inputs = {"stubborn": BoolField(default=False, help="They ignore TERM")}

    def go(self):
        super().go()
        arguments = [self.inputs["args"][0], self.inputs["stubborn"]]
        jobs = [ComputeJob("localhost", ["python", self.node_script], arguments) for _ in range(2)]
        self._schedule_jobs(jobs, max_per_node=0)
        return 1 if self.error.is_set() else 0


if __name__ == "__main__":
    sys.exit(sleeper().main())
