"""What `jug execute` runs: a task for each file of the folder that the environment names."""

import os
from pathlib import Path

from jug import TaskGenerator
from works import touch_out

touch = TaskGenerator(touch_out)
tasks = [touch(str(path)) for path in sorted(Path(os.environ["PEER_FOLDER"]).glob("*.inp"))]
