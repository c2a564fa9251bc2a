"""Log one line, and say from when to when this ran."""

import sys
import time

from pipeline import Node


class trivial(Node):
    def run(self, number, work_s):
        self.outputs["began_s"] = time.monotonic()
        self.logger.info("job %d", number)
        time.sleep(work_s)
        self.outputs["ended_s"] = time.monotonic()
        return 0


if __name__ == "__main__":
    sys.exit(trivial.main())
