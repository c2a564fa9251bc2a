"""
The beginning of an agent: its text is sent to the interpreter on the host, followed by the package.

Runs before anything of ours is there, so it imports nothing of ours at its top. `stream` is the standard input it
was itself read from, `start` the JSON object that the master sent before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zlib
from typing import Any

_DIRECTORIES = (os.environ.get("TMPDIR"), "/tmp", "/var/tmp", os.path.expanduser("~"))  # noqa: S108


def boot(stream: Any, start: dict[str, Any]) -> int:
    """Unpack the package into a private directory and become a guardian with its agent."""
    packed = stream.read(start["size"])
    if hashlib.sha256(packed).hexdigest() != start["sha256"]:
        raise SystemExit("agent: the package arrived damaged (checksum)")
    sizes, _, contents = zlib.decompress(packed).partition(b"\n")
    directory = _unpack(json.loads(sizes), contents)
    sys.path.insert(0, directory)
    sys.dont_write_bytecode = False
    from pipeline.node.guardian import guard

    # The echo tells the master where, after whatever a login script printed, the frames begin.
    os.write(1, b"\n%s\n" % start["setup"]["token"].encode())
    return guard(directory, start["setup"])


def _unpack(sizes: dict[str, int], contents: bytes) -> str:
    """Write the files (path -> bytes of the contents, in this order) below the first place that takes them."""
    problems = []
    for parent in filter(None, _DIRECTORIES):
        directory = os.path.join(parent, "pipeline-" + os.urandom(8).hex())
        try:
            os.mkdir(directory, 0o700)
            position = 0
            for path, size in sizes.items():
                target = os.path.join(directory, path)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as file:
                    file.write(contents[position : position + size])
                position += size
            return directory
        except OSError as error:
            problems.append(f"{parent}: {error.strerror}")
            import shutil  # needed here only: each import delays the first job

            shutil.rmtree(directory, ignore_errors=True)
    raise SystemExit("agent: no place for its files: " + "; ".join(problems))
