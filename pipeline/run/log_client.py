"""The other end of the log server's TCP gate: a `logging.Handler` for scripts that no agent started."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import zmq

from pipeline.errors import UsageError
from pipeline.node.script import encode_record
from pipeline.run.log_gate import KEY_VARIABLE

__all__ = ["LogClient"]

_SEND_MS = 5000
_LINGER_MS = 5000


class LogClient(logging.Handler):
    """Sends records to a master's log server; waits at most 5 s where the master takes none."""

    def __init__(self, loghost: str, logport: int) -> None:
        """
        Connect to a log server.

        Raises:
            UsageError: If `PIPELINE_LOG_KEY` does not name the run's key file.
        """
        super().__init__()
        path = os.environ.get(KEY_VARIABLE)
        if not path:
            raise UsageError(f"log server {loghost}:{logport}: {KEY_VARIABLE} must name the run's log_server.key")
        try:
            keys = json.loads(Path(path).read_text())
            pair = [keys[name].encode() for name in ("server", "public", "secret")]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path}: expected the run's log server keys: {error}") from None
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.curve_serverkey, self._socket.curve_publickey, self._socket.curve_secretkey = pair
        self._socket.sndtimeo = _SEND_MS
        self._socket.linger = _LINGER_MS
        self._socket.connect(f"tcp://{loghost}:{logport}")

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            self._socket.send(encode_record(record))
        except Exception:  # noqa: BLE001  # logging's own convention: a record never ends the program that logs
            self.handleError(record)

    def close(self) -> None:
        """Wait at most 5 s for what is still under way."""
        self._context.destroy(linger=_LINGER_MS)
        super().close()
