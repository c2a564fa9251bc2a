"""Say one line: what the node script does, without the framework."""

import sys

sys.stdout.write(f"line of job {sys.argv[1]}\n")  # in one piece also where PYTHONUNBUFFERED is set
