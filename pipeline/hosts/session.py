"""What every way to reach a host gives back: a byte stream to and from a program running there."""

from typing import Protocol

__all__ = ["Session"]


class Session(Protocol):
    """
    The standard input and output of a program on a host.

    One thread may read while another writes.
    """

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """
        Return what has arrived, at most `max_bytes`; b"" when the program has closed its output.

        Raises:
            TimeoutError: If nothing arrives in `timeout_s`.
            HostError: If the connection broke.
        """
        ...

    def write(self, data: bytes, timeout_s: float) -> None:
        """
        Send all of `data`.

        Raises:
            TimeoutError: If the host takes nothing for `timeout_s`; part may have been sent.
            HostError: If the connection broke.
        """
        ...

    def write_now(self, data: bytes) -> int:
        """Send as much of `data` as goes without waiting and return how much that was; `write` tells of errors."""
        ...

    def close_input(self) -> None:
        """Close the program's standard input; what it prints can still be read."""
        ...

    def close(self) -> None:
        """End the session and everything on this side of it; safe to call twice and from any thread."""
        ...

    def last_words(self) -> str:
        """The end of what the program (or the ssh client) wrote to standard error, on one line."""
        ...
