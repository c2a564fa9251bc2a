"""HyperQueue: server and one worker in this process, one job with a task for each argument."""

import os
import time

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig
from works import Clock, read_words

work, _ = read_words(__doc__)
clock = Clock()
os.chdir(work.folder)  # the tasks' output goes there, two files for each
with LocalCluster(str(work.folder / "server"), WorkerConfig(cores=work.at_once)) as cluster:
    client = cluster.client()
    clock.ready()
    job = Job(max_fails=None)
    for argument in work.arguments:
        job.program([*work.command, argument])
    client.wait_for_jobs([client.submit(job)])
    endings = (".stdout", ".out")
    # Its client looks once a second whether all is done. The newest file that a task wrote is the nearest there is.
    newest_s = max(entry.stat().st_mtime for entry in os.scandir(work.folder) if entry.name.endswith(endings))
    clock.tell(time.monotonic() - (time.time() - newest_s))
