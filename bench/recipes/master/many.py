"""Many jobs of one kind, dealt to hosts in turn: what the benchmarks set beside other programs."""

import os
import sys
import time
from pathlib import Path

from pipeline import BaseRecipe, ComputeJob, FloatField, IntField, ListField, RemoteCommand, StringField


class many(BaseRecipe, RemoteCommand):
    inputs = {  # noqa: RUF012
        "kind": StringField(help="log_line, import_numpy, touch_out or true"),
        "jobs": IntField(help="How many"),
        "hosts": ListField(help="Where, e.g. [node1, node2]"),
        "folder": StringField(help="Of the .inp files", default=""),
    }
    outputs = {  # noqa: RUF012
        "work_s": FloatField(help="From the first job handed over to the last result"),
        "cpu_s": FloatField(help="Processor time of the master meanwhile"),
        "first_jobs_s": FloatField(help="From PEER_BEGAN_S in the environment until every host had begun a job"),
    }

    def go(self):
        super().go()
        hosts = self.inputs["hosts"]
        jobs = [self.job(hosts[number % len(hosts)], number) for number in range(self.inputs["jobs"])]
        handed_over_s, began_cpu_s = time.monotonic(), time.process_time()
        self._schedule_jobs(jobs)
        self.outputs["work_s"] = round(time.monotonic() - handed_over_s, 4)
        self.outputs["cpu_s"] = round(time.process_time() - began_cpu_s, 6)
        self.outputs["first_jobs_s"] = round(last_first(jobs) - float(os.environ.get("PEER_BEGAN_S", 0)), 3)
        return 1 if self.error.is_set() else 0

    def job(self, host, number):
        kind = self.inputs["kind"]
        if kind == "true":
            return ComputeJob(host, ["/bin/true"])
        argument = str(Path(self.inputs["folder"], f"{number:06}.inp")) if kind == "touch_out" else number
        return ComputeJob(host, ["python", str(Path(self.node_script).with_name(kind + ".py"))], [argument])


def last_first(jobs):
    """When the first job began on the host where it began last; all hosts are this machine, with one clock."""
    began_s = {}
    for job in jobs:
        when_s = job.results.get("began_s", 0.0)
        began_s[job.host] = min(when_s, began_s.get(job.host, when_s))
    return max(began_s.values())


if __name__ == "__main__":
    sys.exit(many().main())
