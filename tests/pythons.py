"""The Pythons of this machine that a host may have: 3.8 and later, one of each version."""

import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_MINORS = range(8, 15)


@functools.cache
def find_pythons() -> dict[str, str]:
    """Return paths of interpreters by version, e.g. `3.8`; the running one is always among them."""
    found = {f"3.{minor}": path for minor in _MINORS if (path := _find(f"3.{minor}"))}
    return {**found, f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}


def _find(version: str) -> str | None:
    return next((path for path in _candidates(version) if _is_version(path, version)), None)


def _candidates(version: str) -> Iterator[str]:
    yield from map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    if path := shutil.which(f"python{version}"):
        yield path


def _is_version(path: str, version: str) -> bool:
    """Ask it: a name on PATH may be a stand-in for a Python that is not installed."""
    words = [path, "-E", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version
