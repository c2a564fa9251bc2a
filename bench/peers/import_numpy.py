"""Say one line, and have numpy for it."""

import sys

import numpy

print("line of job", int(numpy.int64(sys.argv[1])))
