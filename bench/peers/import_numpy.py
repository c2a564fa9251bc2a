"""Say one line, and have numpy for it."""

import sys

import numpy

sys.stdout.write(f"line of job {numpy.int64(sys.argv[1])}\n")
