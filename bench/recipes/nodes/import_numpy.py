"""Log one line, and have numpy for it."""

import sys

import numpy

from pipeline import Node


class import_numpy(Node):
    def run(self, number):
        self.logger.info("line of job %d", numpy.int64(number))
        return 0


if __name__ == "__main__":
    sys.exit(import_numpy.main())
