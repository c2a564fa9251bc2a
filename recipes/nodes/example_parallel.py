"""Log every argument."""

import sys

from pipeline import Node


class example_parallel(Node):
    def run(self, *args):
        for arg in args:
            self.logger.info("Received %s as argument", arg)
        return 0


if __name__ == "__main__":
    sys.exit(example_parallel(sys.argv[1], sys.argv[2]).run_with_logging(*sys.argv[3:]))
