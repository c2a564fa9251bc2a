"""The loop of a warm process: get ready, then fork for each request; the child gets out of the loop."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` makes enums of all it is told, in each fork again
import ast
import gc
import json
import os
import select
import socket
import struct
import sys
import time

from pipeline.node import warm_job
from pipeline.node.fitness import Watch, hiding_module, watched_files
from pipeline.node.prefix import run_prefix

TYPE_CHECKING = False  # see node/script.py
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, Callable, NoReturn

__all__ = ["serve"]

_MAX_REQUEST_BYTES = 1 << 20
_DESCRIPTORS = 3  # output, errors, and the channel of a Node
_ANCILLARY_BYTES = socket.CMSG_SPACE(_DESCRIPTORS * struct.calcsize("i"))
_MAX_GROWTH_BYTES = 64 << 20  # what a process has grown by since it was ready is what its forks cost more
_MAX_READY_BYTES = 200_000  # a packet; the system has room for 212,992 bytes by default
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CLOCK_TICK_NS = 10_000_000  # the times of files go by the ticks of the system, 100 to 1000 a second
_LOOK_EVERY = 256  # requests

_parse = json.JSONDecoder().raw_decode  # `json.loads` also looks for white space, with a regular expression
_buffer = bytearray(_MAX_REQUEST_BYTES)  # one for all: a new one of this size would be mapped, and unmapped, each time


def serve(channel_number: int, script: str) -> CodeType:
    """
    Get ready and fork for each request, until the agent closes the channel.

    Returns:
        The script's code, in a child that has become a job.
    """
    os.set_inheritable(channel_number, False)
    channel = socket.socket(fileno=channel_number)

    def refuse(why: str) -> NoReturn:
        _tell(channel, {"k": "unfit", "why": why[:1000]})
        os._exit(1)

    try:
        code, watched = _prepare(script, channel, refuse)
    except BaseException as error:  # noqa: BLE001  # whatever the imports raise, SystemExit too
        refuse(f"{type(error).__name__}: {error}")
    ready = json.dumps({"k": "ready", "watched": watched}).encode("ascii")
    if len(ready) > _MAX_READY_BYTES:
        refuse("they import too many modules")
    woken, wakeup = os.pipe()
    for descriptor in (woken, wakeup):
        os.set_blocking(descriptor, False)
    old_handler = _signal.signal(_signal.SIGCHLD, lambda *_: None) or _signal.SIG_DFL
    old_wakeup = _signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    server = _Server(channel, woken)
    gc.collect()
    gc.freeze()
    _send(channel, ready)
    request, descriptors = server.wait_for_job()
    # From here on a child; the agent must know it before it runs anything.
    _signal.set_wakeup_fd(old_wakeup)
    _signal.signal(_signal.SIGCHLD, old_handler)
    os.close(woken)
    os.close(wakeup)
    warm_job.become(request, descriptors, channel.detach())
    return code


def _prepare(script: str, channel: socket.socket, refuse: Callable[[str], NoReturn]) -> tuple[CodeType, list[str]]:
    began_ns = time.time_ns()
    if not _sees_agent(channel):
        refuse("their Python has a PID namespace of its own")
    source = _read(script)
    path = os.path.abspath(script) if sys.version_info >= (3, 9) else script
    tree = ast.parse(source, path)
    code = compile(source, path, "exec", dont_inherit=True)
    warm_job.prepare(path)
    if name := hiding_module():
        refuse(f"a module {name} of yours hides Python's")
    watch = Watch(script, refuse)
    with watch:
        run_prefix(tree, path)
        sys.stdout.flush()
        sys.stderr.flush()
    watch.check()
    node = sys.modules.get("pipeline.node.script")
    if node and hasattr(node, "rehearse"):
        node.rehearse()
    warm_job.rehearse_fork()
    warm_job.note_what_is_there(channel)
    watched = watched_files(path, watch.files)
    if any(map(_changes_since(began_ns), watched)):
        os._exit(0)  # it may have what was there before; the agent starts another
    return code, watched


def _changes_since(began_ns: int) -> Callable[[str], bool]:
    """Return what tells of a file whether it was written then, or since; one of tomorrow's never was."""
    first_ns, last_ns = began_ns - _CLOCK_TICK_NS, time.time_ns()

    def changes(path: str) -> bool:
        try:
            return first_ns <= os.stat(path).st_mtime_ns <= last_ns
        except OSError:
            return False

    return changes


def _sees_agent(channel: socket.socket) -> bool:
    """Whether the maker of the channel has a pid here; if not, it would take our pids for those of others."""
    pid, _, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return bool(pid)


class _Server:
    """Waits for requests and for the ends of jobs."""

    def __init__(self, channel: socket.socket, woken: int) -> None:
        self._channel = channel
        self._woken = woken
        self._ids: dict[int, int] = {}  # of the jobs that run, by pid
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)
        self._poll.register(woken, select.POLLIN)
        self._count = 0
        self._ready_pages = _resident_pages()

    def wait_for_job(self) -> tuple[dict[str, Any], list[int]]:
        """Fork for each request; returns in the children only, with the request and its descriptors."""
        while True:
            # A timeout, so that a signal that was lost costs a second, not a job.
            events = self._poll.poll(1000 if self._ids else 60_000)
            if not events:
                self._reap()
            for descriptor, _ in events:
                if descriptor == self._woken:
                    os.read(descriptor, 4096)
                    self._reap()
                elif job := self._take():
                    return job

    def _take(self) -> tuple[dict[str, Any], list[int]] | None:
        """Fork for one request; returns it in the child."""
        data, descriptors = _receive(self._channel)
        if not data:
            os._exit(0)
        request, _ = _parse(data)
        try:
            # The system leaves out those that there is no room for.
            if len(descriptors) < _DESCRIPTORS or request["channel"] >= os.sysconf("SC_OPEN_MAX"):
                raise OSError("too many open files")
            warm_job.dress(request)
            pid = os.fork()
        except OSError as error:
            _tell(self._channel, {"k": "failed", "id": request["id"], "why": str(error)})
            pid = -1
        if not pid:
            return request, descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        if pid > 0:
            self._ids[pid] = request["id"]
        self._count += 1
        if not self._count % _LOOK_EVERY and _resident_pages() > self._ready_pages + _MAX_GROWTH_BYTES // _PAGE_BYTES:
            _tell(self._channel, {"k": "grown"})
        return None

    def _reap(self) -> None:
        while self._ids:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if not pid:
                return
            if pid in self._ids:
                told = (self._ids.pop(pid), status, usage.ru_utime, usage.ru_stime, usage.ru_maxrss)
                _send(self._channel, b'{"k": "ended", "id": %d, "status": %d, "usage": [%r, %r, %d]}' % told)


def _receive(channel: socket.socket) -> tuple[str, list[int]]:
    """Return one request with its descriptors; nothing when the agent has closed the channel."""
    try:
        size, ancillary, _, _ = channel.recvmsg_into([_buffer], _ANCILLARY_BYTES)
    except ConnectionError:
        return "", []
    descriptors: list[int] = []
    for _, _, content in ancillary:
        descriptors.extend(memoryview(content).cast("i"))
    return str(_buffer[:size], "ascii"), descriptors


def _tell(channel: socket.socket, message: dict[str, Any]) -> None:
    _send(channel, json.dumps(message).encode("ascii"))


def _send(channel: socket.socket, message: bytes) -> None:
    try:
        channel.sendall(message)
    except OSError:
        os._exit(0)  # without an agent there is nobody to work for


def _resident_pages() -> int:
    return int(_read("/proc/self/statm").split()[1])


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
