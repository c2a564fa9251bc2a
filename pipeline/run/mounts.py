"""On which file system a path lies: SQLite's write-ahead log needs care on those of a network."""

import os
import re
from pathlib import Path

__all__ = ["is_on_network", "parse_mounts"]

_NETWORK = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|lustre|gpfs|beegfs|ceph|afs|9p|ocfs2|gfs2|pvfs2|fuse\..*")
_OCTAL = re.compile(rb"\\([0-7]{3})")


def is_on_network(path: Path) -> bool:
    """Return whether `path` lies on a network file system; False where the system does not say."""
    try:
        table = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return False
    place = os.fsencode(os.path.realpath(path))
    inside = [(mount, kind) for mount, kind in parse_mounts(table) if _is_below(place, mount)]
    # The deepest one counts; of several on one point the last, which hides the others.
    _, kind = max(enumerate(inside), key=lambda item: (len(item[1][0]), item[0]), default=(0, (b"/", "")))[1]
    return _NETWORK.fullmatch(kind) is not None


def parse_mounts(table: bytes) -> list[tuple[bytes, str]]:
    """Return (mount point, file system type) of each line of `/proc/self/mountinfo`, see proc(5)."""
    mounts = []
    for line in table.splitlines():
        left, _, right = line.partition(b" - ")
        fields, kind = left.split(), right.split()
        if len(fields) > 4 and kind:
            mounts.append((_unescaped(fields[4]), kind[0].decode("ascii", "replace")))
    return mounts


def _unescaped(field: bytes) -> bytes:
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field)


def _is_below(place: bytes, mount: bytes) -> bool:
    return mount == b"/" or place == mount or place.startswith(mount + b"/")
