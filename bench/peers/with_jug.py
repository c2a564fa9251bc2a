"""Jug: as many `jug execute` as jobs are to run at once, which share a folder on disk."""

import os
import subprocess
import sys

from works import HERE, Clock, read_words

work, _ = read_words(__doc__)
clock = Clock()
words = [os.path.join(sys.prefix, "bin/jug"), "execute", str(HERE / "jugfile.py"), f"--jugdir={work.folder / 'jugdir'}"]
environment = {**os.environ, "PEER_FOLDER": str(work.folder), "PYTHONPATH": str(HERE)}
running = [subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) for _ in range(work.at_once)]
if [process for process in running if process.wait(900)]:
    sys.exit("jug failed")
clock.ready(min(float(path.read_text()) for path in work.folder.glob("ready.*")))
clock.tell()
