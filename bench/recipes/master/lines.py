"""A few jobs that write many lines; tells how long they took and what that cost the master."""

import resource
import sys
import time

from pipeline import BaseRecipe, CommandJob, ComputeJob, FloatField, IntField, ListField, RemoteCommand, StringField

LINE = "a line of output as jobs write them, with some numbers in it: 3.14159 2.71828"
PROGRAM = 'yes "$1" | head -n "$2"'


class lines(BaseRecipe, RemoteCommand):
    inputs = {  # noqa: RUF012
        "jobs": IntField(help="How many", default=8),
        "lines": IntField(help="Of all jobs together", default=1_000_000),
        "hosts": ListField(help="Where, e.g. [node1, node2]", default=["localhost"]),
        "kind": StringField(help="stdout, or records of a node script's logger", default="stdout"),
    }
    outputs = {  # noqa: RUF012
        "seconds": FloatField(help="From the first job handed over to the last line in the log file"),
        "cpu_s": FloatField(help="Processor time of the master meanwhile"),
        "peak_mb": FloatField(help="Most memory of the master"),
    }

    def go(self):
        super().go()
        hosts, count = self.inputs["hosts"], self.inputs["jobs"]
        each = str(self.inputs["lines"] // count)
        names = [hosts[i % len(hosts)] for i in range(count)]
        if self.inputs["kind"] == "stdout":
            jobs = [CommandJob(name, ["sh", "-c", PROGRAM, "sh", LINE, each]) for name in names]
        else:
            jobs = [ComputeJob(name, ["python", self.node_script], [LINE, int(each)]) for name in names]
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        self._schedule_jobs(jobs, max_per_node=0)
        self.outputs["seconds"] = round(time.monotonic() - began_s, 3)
        self.outputs["cpu_s"] = round(time.process_time() - began_cpu_s, 3)
        self.outputs["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        return 1 if self.error.is_set() else 0


if __name__ == "__main__":
    sys.exit(lines().main())
