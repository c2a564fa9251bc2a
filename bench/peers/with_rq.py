"""RQ: a pool of workers, broker and results in Redis; a job for each file. `--simple`: workers that do not fork."""

import os
import subprocess
import sys
import time

from redis import Redis
from redis_server import running_redis
from rq import Queue
from rq.registry import FailedJobRegistry, FinishedJobRegistry
from works import HERE, Clock, Work, read_words, touch_out

START_TIMEOUT_S = 30.0
TIMEOUT_S = 900.0


def enqueue(queue: Queue, paths: list[str]) -> None:
    """Hand over all files at once, as RQ advises for many jobs."""
    queue.enqueue_many([Queue.prepare_data(touch_out, (path,)) for path in paths])


def wait_for(queue: Queue, count: int, timeout_s: float) -> None:
    """Return when so many jobs have ended well in all."""
    deadline_s = time.monotonic() + timeout_s
    finished = FinishedJobRegistry(queue=queue)
    while finished.get_job_count(cleanup=False) < count:
        if FailedJobRegistry(queue=queue).get_job_count(cleanup=False) or time.monotonic() > deadline_s:
            raise SystemExit("jobs failed or do not end")
        time.sleep(0.01)


def run(work: Work, clock: Clock, socket: str, *, is_simple: bool) -> None:
    """Start the workers, run the jobs, end the workers."""
    words = [sys.executable, "-m", "rq.cli", "worker-pool", "default", f"--num-workers={work.at_once}", "--quiet"]
    words += [f"--url=unix://{socket}", *(["--worker-class=rq.SimpleWorker"] if is_simple else [])]
    queue = Queue(connection=Redis(unix_socket_path=socket))
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    pool = subprocess.Popen(words, cwd=work.folder, env=environment, stdout=subprocess.DEVNULL)
    try:
        enqueue(queue, [str(work.folder / "first.inp")])
        wait_for(queue, 1, START_TIMEOUT_S)
        clock.ready()
        enqueue(queue, work.inputs)
        wait_for(queue, 1 + work.count, TIMEOUT_S)
        clock.tell()
    finally:
        pool.terminate()
        pool.wait(START_TIMEOUT_S)


if __name__ == "__main__":
    work, options = read_words(__doc__, "--simple")
    clock = Clock()
    with running_redis(work.folder) as socket:
        run(work, clock, str(socket), is_simple=options.simple)
