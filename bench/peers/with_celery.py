"""Celery: a worker with forked processes, broker and results in Redis; one group with a task for each file."""

import os
import subprocess
import sys

from redis_server import running_redis
from works import HERE, Clock, read_words

START_TIMEOUT_S = 30.0

work, _ = read_words(__doc__)
clock = Clock()
with running_redis(work.folder) as socket:
    os.environ["PEER_REDIS"] = str(socket)
    from celery import group
    from celery_tasks import touch

    words = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", f"-c{work.at_once}", "--loglevel=ERROR"]
    worker = subprocess.Popen(words, cwd=HERE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        touch.delay(str(work.folder / "first.inp")).get(timeout=START_TIMEOUT_S)
        clock.ready()
        group(touch.s(path) for path in work.inputs).apply_async().join(timeout=900)
        clock.tell()
    finally:
        worker.terminate()
        worker.wait(START_TIMEOUT_S)
