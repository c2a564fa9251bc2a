"""Say one line: what the node script does, without the framework."""

import sys

print("line of job", sys.argv[1])
