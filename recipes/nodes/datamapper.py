"""
Look for files of a map: outputs['sizes'] are their sizes in bytes, in order, None for what is not there.

The size of a directory, such as a measurement set, is that of all files below it.
"""

import os
import stat
import sys

from pipeline import Node


class datamapper(Node):
    def run(self, files):
        self.outputs["sizes"] = [self.size(file) for file in files]
        return 0

    def size(self, path):
        try:
            status = os.stat(path)
            return sum(sizes_below(path)) if stat.S_ISDIR(status.st_mode) else status.st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.logger.warning("%s: cannot be looked at: %s", path, error.strerror)
            return None


def sizes_below(path):
    for folder, _, names in os.walk(path):
        for name in names:
            yield os.lstat(os.path.join(folder, name)).st_size


if __name__ == "__main__":
    sys.exit(datamapper.main())
