"""Log one line, and say when that was."""

import sys
import time

from pipeline import Node


class log_line(Node):
    def run(self, number):
        self.outputs["began_s"] = time.monotonic()
        self.logger.info("line of job %s", number)
        return 0


if __name__ == "__main__":
    sys.exit(log_line.main())
