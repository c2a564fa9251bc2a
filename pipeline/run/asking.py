"""Asking many hosts side by side, one session each, behind the same gates as a run."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from pipeline.errors import HostError
from pipeline.run.connector import Connected, Connector, NotConnected, Notice
from pipeline.run.link import Link
from pipeline.run.reach import Reach

__all__ = ["ask_hosts", "stat_all", "stat_on_hosts"]

_Answer = TypeVar("_Answer")

_STAT_TIMEOUT_S = 20.0
# Of one question: its text, six characters for one that JSON escapes, and the answer fit into a frame each.
_BATCH_CHARS = 100_000
_BATCH_PATHS = 5_000


def ask_hosts(
    hosts: Iterable[str], reach: Reach, ask: Callable[[Link], _Answer]
) -> Iterator[tuple[str, _Answer | HostError]]:
    """
    Connect to hosts and ask each one.

    Args:
        hosts: A host that is named twice is asked once.
        reach: How they are reached.
        ask: Called in a thread of its own for each host; the session ends when it returns. May raise HostError, and
            must not take for ever.

    Yields:
        Host and answer, or why there is none, each host once, in the order in which the answers come.
    """
    return _Asking(hosts, reach, ask).answers()


def stat_on_hosts(
    files: Mapping[str, Sequence[str]], reach: Reach
) -> tuple[dict[tuple[str, str], tuple[str, int]], dict[str, str]]:
    """
    Ask many hosts what their files are.

    Args:
        files: Paths by host.
        reach: How the hosts are reached.

    Returns:
        Kind and size in bytes by host and path, see `Link.stat`; and why, by host, there is no answer.
    """
    found: dict[tuple[str, str], tuple[str, int]] = {}
    failed: dict[str, str] = {}
    for host, answer in ask_hosts(files, reach, lambda link: stat_all(link, files[link.host])):
        if isinstance(answer, HostError):
            failed[host] = answer.reason
        else:
            found.update(zip(((host, file) for file in files[host]), answer, strict=True))
    return found, failed


def stat_all(link: Link, paths: Sequence[str]) -> list[tuple[str, int]]:
    """
    Ask what any number of paths are on the host; see `Link.stat`.

    Raises:
        HostError: If no answer comes for a batch of them.
    """
    return [found for batch in _batches(paths) for found in link.stat(batch, _STAT_TIMEOUT_S)]


def _batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    start = n_chars = 0
    for end, path in enumerate(paths):
        if end > start and (n_chars + len(path) > _BATCH_CHARS or end - start >= _BATCH_PATHS):
            yield paths[start:end]
            start, n_chars = end, 0
        n_chars += len(path)
    if paths:
        yield paths[start:]


class _Asking(Generic[_Answer]):
    """One round of questions."""

    def __init__(self, hosts: Iterable[str], reach: Reach, ask: Callable[[Link], _Answer]) -> None:
        self._hosts = list(dict.fromkeys(hosts))
        self._reach = reach
        self._ask = ask
        # Host and answer; or host alone, when it has just been connected to.
        self._heard: queue.SimpleQueue[tuple[str] | tuple[str, _Answer | HostError]] = queue.SimpleQueue()

    def answers(self) -> Iterator[tuple[str, _Answer | HostError]]:
        connector = Connector(self._reach, None, self._take)
        connecting, asked = set(self._hosts), set[str]()
        for host in self._hosts:
            connector.connect(host)
        try:
            while connecting or asked:
                try:
                    heard = self._heard.get(timeout=2 * self._reach.parameters.verdict_timeout)
                except queue.Empty:
                    if not asked:
                        break
                    continue
                connecting.discard(heard[0])
                if len(heard) == 1:
                    asked.add(heard[0])
                else:
                    asked.discard(heard[0])
                    yield heard
        finally:
            connector.close()
        for host in self._hosts:
            if host in connecting:
                yield host, HostError(host, "no answer in time")

    def _take(self, notice: Notice) -> None:
        if isinstance(notice, Connected):
            # Called with the connector's lock held: this thread may not wait.
            self._heard.put((notice.link.host,))
            threading.Thread(target=self._question, args=(notice.link,), name="ask", daemon=True).start()
        elif isinstance(notice, NotConnected):
            self._heard.put((notice.error.host, notice.error))

    def _question(self, link: Link) -> None:
        answer: _Answer | HostError
        try:
            answer = self._ask(link)
        except HostError as error:
            answer = error
        except Exception as error:  # noqa: BLE001
            # A bug of ours must fail this host, not leave the others' answers waiting for ever.
            answer = HostError(link.host, f"{type(error).__name__}: {error}")
        link.send({"k": "stop", "grace_s": 0.0})
        self._heard.put((link.host, answer))
