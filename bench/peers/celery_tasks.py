"""The Celery application of with_celery.py; workers import it by name."""

import os

from celery import Celery
from works import touch_out

url = "redis+socket://" + os.environ["PEER_REDIS"]
app = Celery("celery_tasks", broker=url, backend=url)
touch = app.task(touch_out)
