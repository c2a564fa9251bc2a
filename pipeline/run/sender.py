"""What goes to a host: at once as far as its session takes it, the rest in a thread that may wait."""

import logging
import threading

from pipeline.errors import HostError
from pipeline.formats.frames import encode_message
from pipeline.hosts.session import Session

__all__ = ["Sender"]

log = logging.getLogger(__name__)

_BEAT = encode_message({"k": "beat"})


class Sender:
    """
    The writing side of a session; also gives signs of life.

    Attributes:
        why_closed: Why it closed the session, if it did.
    """

    def __init__(self, host: str, session: Session, beat_interval_s: float, timeout_s: float) -> None:
        """Start the thread; a host that takes nothing for `timeout_s` is given up."""
        self.why_closed = ""
        self._session = session
        self._beat_interval_s = beat_interval_s
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._left = bytearray()  # what was not taken at once, and all that came after it
        self._is_writing = False  # the thread is: nobody may come in between
        self._is_closed = False
        self._wake = threading.Event()
        threading.Thread(target=self._write, name=f"write {host}", daemon=True).start()

    def send(self, data: bytes) -> None:
        """
        Send whole frames, in the order of the calls; never waits for the host.

        To wake the thread for each of them would cost the caller more than all the rest it does for a job.
        """
        with self._lock:
            if not self._left and not self._is_writing:
                data = data[self._session.write_now(data) :]
            if not data:
                return
            self._left += data
        self._wake.set()

    def close(self) -> None:
        """End the thread once the session is closed."""
        self._is_closed = True
        self._wake.set()

    def _write(self) -> None:
        try:
            while not self._is_closed:
                if self._wake.wait(self._beat_interval_s):
                    self._write_left()
                else:
                    self.send(_BEAT)
        except TimeoutError:
            self.why_closed = f"takes no data for {self._timeout_s:.0f} s"
            self._session.close()
        except HostError as error:
            # The reading thread sees the same and gives the verdict.
            log.debug("%s", error)

    def _write_left(self) -> None:
        with self._lock:
            self._wake.clear()
            data, self._left = bytes(self._left), bytearray()
            self._is_writing = True
        self._session.write(data, self._timeout_s)
        with self._lock:
            self._is_writing = False
