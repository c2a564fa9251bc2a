"""Run the node script of the same name once, on this machine: the smallest pair that does something."""

import sys

from pipeline import BaseRecipe, ComputeJob, RemoteCommand


class example_parallel(BaseRecipe, RemoteCommand):
    def go(self):
        super().go()
        job = ComputeJob("localhost", ["python", self.node_script], arguments=["example_argument"])
        self._schedule_jobs([job])
        return 1 if self.error.is_set() else 0


if __name__ == "__main__":
    sys.exit(example_parallel().main())
