"""Many jobs that do next to nothing, dealt to hosts in turn; tells how long they took and how many ran at once."""

import sys
import time

from pipeline import BaseRecipe, ComputeJob, FloatField, IntField, ListField, RemoteCommand, StringField


class trivial(BaseRecipe, RemoteCommand):
    inputs = {  # noqa: RUF012
        "jobs": IntField(help="How many", default=100),
        "hosts": ListField(help="Where, e.g. [node1, node2]", default=["localhost"]),
        "work_s": FloatField(help="How long each waits, s", default=0.0),
    }
    outputs = {  # noqa: RUF012
        "seconds": FloatField(help="From the first job handed over to the last result"),
        "cpu_s": FloatField(help="Processor time of the master meanwhile"),
        "at_once": StringField(help="Most jobs that ran at the same time, host:jobs"),
    }

    def go(self):
        super().go()
        hosts, work_s = self.inputs["hosts"], self.inputs["work_s"]
        command = ["python", self.node_script]
        jobs = [ComputeJob(hosts[i % len(hosts)], command, [i, work_s]) for i in range(self.inputs["jobs"])]
        started_s, started_cpu_s = time.monotonic(), time.process_time()
        self._schedule_jobs(jobs)
        self.outputs["cpu_s"] = round(time.process_time() - started_cpu_s, 6)
        self.outputs["seconds"] = round(time.monotonic() - started_s, 3)
        self.outputs["at_once"] = " ".join(f"{host}:{most_at_once(jobs, host)}" for host in hosts)
        return 1 if self.error.is_set() else 0


def most_at_once(jobs, host):
    """All hosts are this machine, whose monotonic clock the jobs have read."""
    spans = [job.results for job in jobs if job.results["host"] == host]
    steps = [(span["began_s"], 1) for span in spans] + [(span["ended_s"], -1) for span in spans]
    running = most = 0
    for _, step in sorted(steps):
        running += step
        most = max(most, running)
    return most


if __name__ == "__main__":
    sys.exit(trivial().main())
