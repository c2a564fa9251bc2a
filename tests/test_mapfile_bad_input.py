"""Bad mapfiles through a real process: one line each, exit status 2, soon and with little memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# VmHWM, not rusage: that would count the memory of the test process before exec.
MAIN = """
import resource, sys
from pipeline.cli.main import main
before = resource.getrusage(resource.RUSAGE_SELF)
try:
    status = main(sys.argv[1:])
except SystemExit as end:
    status = end.code
after = resource.getrusage(resource.RUSAGE_SELF)
seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
peak_kib = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(seconds, peak_kib)
sys.exit(status)
"""
ENTRY = "expected an entry {'host': ..., 'file': ...} or ('host', 'file')"

TEXTS = {
    "nul": (b"a=[ /x\0 ]", "1:7: expected text, found a NUL byte"),
    "nul escaped": (rb"[('a', '\0')]", r"1:8: expected the name of a file, got '\x00'"),
    "two boms": (b"\xef\xbb\xbf\xef\xbb\xbfa=[ /x ]", r"1:1: expected a host name, got '\ufeffa'"),
    "host not utf-8": (b"\xe9=[ /x ]", r"1:1: expected a host name, got '\udce9'"),
    "two records": (b"a=[ /x ] b=[ /y ]", "1:10: expected one host per line, got 'a' and 'b'; start a new line here"),
    "no end": (b"a=[ /x,", "1:8: expected a file name, got end of file"),
    "no start": (b"a= /x ]", "1:7: expected end of line after '/x', got ']'"),
    "list without end": (b"[('a', '/x')", "1:13: expected ',' or ']' after the entry, got end of file"),
    "deep": (b"[" * 100_000, "1:3: expected a host name in quotes, got '['"),
    "deep parset": (b"a=" + b"[" * 100_000, "1:4: expected a file name, got '['"),
    "deep files": (b"[('a', " + b"[" * 100_000, "1:9: expected a file name in quotes, got '['"),
    "deep dicts": (b"[" + b"{" * 100_000, "1:3: expected one of 'host', 'file', 'skip', 'file_skip', got '{'"),
    "code": (b"[__import__('os').system('id')]", f"1:2: {ENTRY}, got '__import__'"),
    "code in an entry": (b"[('a', __import__('os'))]", "1:8: expected a file name in quotes, got '__import__'"),
    "option": (b"-oProxyCommand=[ /x ]", "1:1: expected a host name, got '-oProxyCommand'"),
    "command": (b"[('$(id)', '/x')]", "1:3: expected a host name, got '$(id)'"),
    "two commands": (b"a;b=[ /x ]", "1:1: expected a host name, got 'a;b'"),
    "terminal escape": (b"\x1b=[ /x ]", "1:1: expected a host name, got '\\x1b'"),
    "range": (b"a=[ [1..1000000000000] ]", "1:5: expected a file name, got '['"),
    "repeat": (b"a=[ 1000000000*[x] ]", "1:16: expected ',' or ']' after '1000000000*', got '['"),
    "junk": (bytes(range(1, 256)) * 1000, "1:10: expected host=[ file, ... ], got end of line"),
}


def check(path: "Path | str", status: int = 2) -> str:
    """Run `pipeline hosts check -m` and return the one line it writes."""
    words = [sys.executable, "-c", MAIN, "hosts", "check", "-m", os.fspath(path)]
    done = subprocess.run(
        words, capture_output=True, text=True, errors="surrogateescape", timeout=60, stdin=subprocess.DEVNULL
    )
    seconds, peak_kib = done.stdout.splitlines()[-1].split()
    assert done.returncode == status, done.stderr
    assert float(seconds) < 1
    assert int(peak_kib) < 100 << 10
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("name", TEXTS)
def test_bad_text(tmp_path, name):
    """The line names file, line and column, what was expected and what was found."""
    text, problem = TEXTS[name]
    path = tmp_path / "it's a mapfile"
    path.write_bytes(text)

    assert check(path).startswith(f"{path}:{problem}")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/dev/zero", "/dev/zero: expected a regular file, found a character device"),
        ("/no such/mapfile", "/no such/mapfile: expected a mapfile, found nothing there"),
        ("/", "/: expected a regular file, found a directory"),
    ],
)
def test_what_is_no_file(path, problem):
    """It is not waited for and not read without end."""
    assert check(path) == problem


def test_fifo(tmp_path):
    """Nobody writes to it, and nobody is waited for."""
    os.mkfifo(tmp_path / "m")

    assert check(tmp_path / "m") == f"{tmp_path}/m: expected a regular file, found a FIFO"


def test_large_file(tmp_path):
    """100 MB are not read."""
    with open(tmp_path / "m", "wb") as file:
        file.truncate(100_000_000)

    assert check(tmp_path / "m") == f"{tmp_path}/m: expected at most 67108864 bytes, found 100000000 or more"
