"""
Find files below folders of this host.

What is found goes to the master packed: 10^6 names are some 60 MB of text, and an output may have 8 MiB.
"""

import base64
import errno
import fnmatch
import glob
import os
import sys
import zlib

from pipeline import Node
from pipeline.node import MAX_OUTPUTS_BYTES

MAX_TOLD = 20  # folders that cannot be read, each a line
NO_DATA = "lost+found"  # where fsck puts what it finds; only root may read it


class find_files(Node):
    def run(self, folders, pattern, kind, is_recursive):
        """Find `kind` (file, directory or any) whose name matches `pattern` below `folders`."""
        search = Search(pattern, kind, is_recursive)
        for folder in folders:
            for top in expand(folder):
                search.below(top)
        names = sorted(search.found)
        packed = base64.b64encode(zlib.compress(b"\0".join(names))).decode("ascii")
        if len(packed) > MAX_OUTPUTS_BYTES - 100:
            what = (len(names), len(packed), MAX_OUTPUTS_BYTES - 100)
            print("%d found take %d bytes; expected at most %d: search fewer folders at a time" % what, file=sys.stderr)
            return 1
        self.outputs["count"] = len(names)
        self.outputs["names"] = packed
        return self.status_of(search.problems)

    def status_of(self, problems):
        for problem in problems[:MAX_TOLD]:
            print(problem, file=sys.stderr)
        if len(problems) > 1:
            print("%d folders could not be read, e.g. %s" % (len(problems), problems[0]), file=sys.stderr)
        return 1 if problems else 0


class Search:
    """
    Goes through folders, never into a link, into what is hidden or into what was found.

    Attributes:
        found: Absolute paths, bytes.
        problems: A line for each folder that could not be read.
    """

    def __init__(self, pattern, kind, is_recursive):
        self.found = set()
        self.problems = []
        self.pattern = pattern
        self.kind = kind
        self.is_recursive = is_recursive

    def below(self, top):
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(folder) as entries:
                    waiting += [entry.path for entry in entries if self.is_to_be_searched(entry)]
            except OSError as error:
                # A folder below may go while others work here; the one that was asked for must be there.
                if folder == top or error.errno != errno.ENOENT:
                    self.problems.append("%s: %s" % (shown(folder), error.strerror))

    def is_to_be_searched(self, entry):
        """Take the entry if it matches; tell whether to look inside."""
        name = os.fsdecode(entry.name)
        # As in a shell, "*" does not match what is hidden: half copies of `copier` are, and snapshots.
        if name.startswith(".") and not self.pattern.startswith("."):
            return False
        if fnmatch.fnmatchcase(name, self.pattern) and self.is_of_kind(entry):
            self.found.add(entry.path)
            return False
        return self.is_recursive and name != NO_DATA and entry.is_dir(follow_symlinks=False)

    def is_of_kind(self, entry):
        try:
            is_file, is_directory = entry.is_file(), entry.is_dir()
        except OSError:
            return False  # a link in a circle
        return {"file": is_file, "directory": is_directory, "any": is_file or is_directory}[self.kind]


def expand(folder):
    """Return the folders that a name with * ? [ stands for, maybe none; one that is there, or has none, is itself."""
    path = os.path.abspath(os.path.expanduser(os.fsencode(folder)))
    if os.path.lexists(path) or not glob.has_magic(path):
        return [path]
    return [match for match in sorted(glob.glob(path)) if os.path.isdir(match)]


def shown(path):
    text = os.fsdecode(path)
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


if __name__ == "__main__":
    sys.exit(find_files.main())
