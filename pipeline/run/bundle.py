"""
What is sent to a host to start an agent there.

The command of the session is a short constant: a POSIX shell looks for a Python that is new enough and gives it one
line that reads the rest from stdin: a JSON object, the text of `node/boot.py`, and the package's files.
"""

import hashlib
import json
import marshal
import sys
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

import pipeline

__all__ = ["READY", "agent_command", "start_message"]

READY = b"PIPELINE-READY"
NO_PYTHON = b"PIPELINE-NO-PYTHON"

PYTHONS = ("python3", "python3.13", "python3.12", "python3.11", "python3.10", "python3.9", "python3.8", "python")
_TOO_OLD = 9  # exit status of the one line when the interpreter is older than 3.8; any Python since 2.6 can read it

# Only double quotes and no "!": it stands in single quotes in the user's shell, which may be a csh.
# -E -s -S: the agent needs the standard library only, and starts in half the time.
_FIRST_LINE = (
    "import sys; sys.version_info < (3, 8) and sys.exit(9); import json; "
    'sys.stdout.write("\\n' + READY.decode() + '\\n"); sys.stdout.flush(); '
    "i = sys.stdin.buffer; s = json.loads(i.readline()); g = {}; "
    'exec(compile(i.read(s["boot"]), "boot.py", "exec"), g); sys.exit(g["boot"](i, s))'
)
_FIND_PYTHON = (
    'c=$1; shift; o=; for p do command -v "$p" >/dev/null 2>&1 || continue; "$p" -E -s -S -c "$c"; s=$?; '
    'case $s in 9) o="$o $p"; continue;; 126|127) continue;; esac; exit $s; done; '
    'printf "\\n' + NO_PYTHON.decode() + ':%s\\n" "$o"'
)

# What an agent and its node scripts import beside all in `node`; it runs on Python 3.8 with the standard library only.
_FILES = (
    "__init__.py",
    "errors.py",
    "formats/__init__.py",
    "formats/frames.py",
)


def agent_command(python: str | None, *, is_local: bool, interpreter: str) -> Sequence[str]:
    """
    Return argv that starts an agent.

    Args:
        python: `[deploy] python`, the only one to try; None looks for one.
        is_local: No shell is needed: `interpreter`, the one we run on, is there.
    """
    if is_local:
        return (python or interpreter, "-E", "-s", "-S", "-c", _FIRST_LINE)
    return ("/bin/sh", "-c", _FIND_PYTHON, "sh", _FIRST_LINE, *((python,) if python else PYTHONS))


def start_message(setup: Mapping[str, Any]) -> bytes:
    """Return what follows on stdin once the interpreter has said `READY`; `setup` as in `node/agent.py`."""
    boot, packed, checksum = _package()
    start = {"boot": len(boot), "size": len(packed), "sha256": checksum, "setup": dict(setup)}
    return json.dumps(start).encode("ascii") + b"\n" + boot + packed


@cache
def _package() -> tuple[bytes, bytes, str]:
    """Return the text of `node/boot.py`, the files as `boot` takes them, and their checksum."""
    root = Path(pipeline.__file__).parent
    files: dict[str, bytes] = {}
    for name in (*_FILES, *sorted(f"node/{path.name}" for path in root.glob("node/*.py"))):
        files[f"pipeline/{name}"] = (root / name).read_bytes()
        files[f"pipeline/{_cached(name)}"] = _compiled(root / name)
    sizes = json.dumps({path: len(content) for path, content in files.items()}).encode("ascii")
    packed = zlib.compress(b"\n".join([sizes, b"".join(files.values())]), 1)
    return (root / "node/boot.py").read_bytes(), packed, hashlib.sha256(packed).hexdigest()


def _cached(name: str) -> str:
    module = Path(name)
    return str(module.parent / "__pycache__" / f"{module.stem}.{sys.implementation.cache_tag}.pyc")


def _compiled(path: Path) -> bytes:
    """
    Return the .pyc of a module, PEP 552's kind that is not compared with the source.

    A host whose Python has the master's version need not compile, which takes 20 ms; any other looks for another name.
    It is no less to be trusted than the source that goes with it.
    """
    code = SourceFileLoader(path.stem, str(path)).get_code(path.stem)
    return MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)
