"""Connecting to hosts: many at once, few to one sshd, none holding up another."""

import threading
from collections import defaultdict
from collections.abc import Callable

from pipeline.errors import HostError
from pipeline.run.link import Link, connect
from pipeline.run.log_writer import LogWriter
from pipeline.run.reach import Reach
from pipeline.run.reports import LinkEnded, LinkReports

__all__ = ["Connected", "Connector", "NotConnected", "Notice"]


class Connected:
    """A host has an agent."""

    __slots__ = ("link",)

    def __init__(self, link: Link) -> None:
        """Carry the link."""
        self.link = link


class NotConnected:
    """A host could not be connected to."""

    __slots__ = ("error",)

    def __init__(self, error: HostError) -> None:
        """Carry the verdict."""
        self.error = error


Notice = Connected | NotConnected | LinkReports | LinkEnded


class Connector:
    """Runs each connect in a thread of its own, behind gates; the answer is a notice."""

    def __init__(self, reach: Reach, logs: LogWriter | None, notify: Callable[[Notice], None]) -> None:
        """Send every notice, also those of the links, to `notify`."""
        self._reach = reach
        self._logs = logs
        self._notify = notify
        self._gate = threading.BoundedSemaphore(reach.parameters.connects_at_once)
        # sshd drops connections when too many are not logged in yet (MaxStartups, 10 by default).
        per_sshd = reach.parameters.connects_per_sshd
        self._gates: defaultdict[str, threading.BoundedSemaphore] = defaultdict(
            lambda: threading.BoundedSemaphore(per_sshd)
        )
        self._lock = threading.Lock()
        self._is_closed = False

    def connect(self, host: str) -> None:
        """Start connecting; `Connected` or `NotConnected` follows."""
        # Daemon threads: one that waits for a silent host must not keep a finished program from ending.
        threading.Thread(target=self._connect, args=(host,), name=f"connect {host}", daemon=True).start()

    def _connect(self, host: str) -> None:
        try:
            with self._gate_of(self._reach.address(host)), self._gate:
                link = connect(host, self._reach, self._logs, self._notify)
        except HostError as error:
            self._notify(NotConnected(error))
        except Exception as error:  # noqa: BLE001
            # A bug of ours or of a library must fail this host, not leave its jobs waiting for ever.
            self._notify(NotConnected(HostError(host, f"{type(error).__name__}: {error}", is_permanent=True)))
        else:
            self._hand_over(link)

    def close(self) -> None:
        """From now on nobody wants to know: a host that answers later is left at once."""
        with self._lock:
            self._is_closed = True

    def _gate_of(self, address: str) -> threading.BoundedSemaphore:
        with self._lock:  # a defaultdict may call its factory once for each of two threads
            return self._gates[address]

    def _hand_over(self, link: Link) -> None:
        with self._lock:
            is_wanted = not self._is_closed
            if is_wanted:
                self._notify(Connected(link))
        if not is_wanted:
            link.close()
