"""What `jug execute` runs: a task for each file of the folder that the environment names."""

import os
import time
from pathlib import Path

from jug import TaskGenerator
from works import touch_out

folder = Path(os.environ["PEER_FOLDER"])
(folder / f"ready.{os.getpid()}").write_text(str(time.monotonic()))  # the imports are done
touch = TaskGenerator(touch_out)
tasks = [touch(str(path)) for path in sorted(folder.glob("*.inp"))]
