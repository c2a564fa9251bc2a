"""Tell the pids of itself and of a child that left its session, and sleep for long."""

import os
import signal
import subprocess
import sys

from pipeline import Node


class sleeper(Node):
    def run(self, fifo, stubborn):
        if stubborn:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        with open(fifo, "w") as pids:
            pids.write("%d %d\n" % (os.getpid(), child.pid))
        child.wait(600)
        signal.pause()
        return 0


if __name__ == "__main__":
    sys.exit(sleeper.main())
