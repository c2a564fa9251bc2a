"""Log many lines."""

import sys

from pipeline import Node


class lines(Node):
    def run(self, line, count):
        for _ in range(count):
            self.logger.info("%s", line)
        return 0


if __name__ == "__main__":
    sys.exit(lines.main())
