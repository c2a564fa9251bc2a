"""Make an empty file, or give it the time of now."""

import sys
from pathlib import Path

from pipeline import Node


class touch_files(Node):
    def run(self, path):
        try:
            Path(path).touch()
        except OSError as error:
            print("%s: %s" % (path, error.strerror), file=sys.stderr)
            return 1
        return 0


if __name__ == "__main__":
    sys.exit(touch_files.main())
