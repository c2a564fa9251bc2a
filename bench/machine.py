"""What the figures of a benchmark were made on, and their layout."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version


def tell(what: str) -> None:
    """Say on standard error what is being measured: it takes minutes."""
    print(f"... {what}", file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """Return what this machine is."""
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return {
        "machine": f"{os.cpu_count()} cores, {cpu_model()}, load {load}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def cpu_model() -> str:
    """Return what the processor calls itself."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")
    except OSError:
        return platform.machine()


def program_version(program: str, option: str = "--version") -> str:
    """Return the line in which a program tells its version."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        return "not installed"
    done = subprocess.run([path, option], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    lines = (done.stdout + done.stderr).splitlines()  # sshd before 9.3 knows no -V, and tells with its usage
    return next((line for line in lines if any(char.isdigit() for char in line)), "unknown")


def distribution_version(name: str) -> str:
    """Return the version of an installed Python package."""
    try:
        return package_version(name)
    except PackageNotFoundError:
        return "not installed"


def lay_out(rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows of cells under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)
