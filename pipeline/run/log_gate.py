"""
The log server's TCP gate: for node scripts that our agent did not start (MPI ranks, batch jobs, a script by hand).

Only with `[remote] log_server = tcp`. CURVE encrypts; alone it would let in anybody who knows the server's public
key, so a ZAP allow-list is in place before the socket is bound: only the key pair of this run, kept in a file that
its owner alone can read, is let in. Others are dropped by ZeroMQ before a message of theirs is seen.
"""

import hmac
import json
import logging
import os
import socket
import threading
from pathlib import Path
from typing import Any

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from pipeline.errors import PipelineError
from pipeline.run.log_writer import LogWriter

__all__ = ["KEY_VARIABLE", "SERVER_VARIABLE", "LogGate"]

log = logging.getLogger(__name__)

KEY_FILE = "log_server.key"
KEY_VARIABLE = "PIPELINE_LOG_KEY"
SERVER_VARIABLE = "PIPELINE_LOG_SERVER"
_MAX_RECORD_BYTES = 1 << 20
_MAX_LAST_RECORDS = 10_000
_MAX_REFUSED = 100
_POLL_MS = 100
_JOIN_S = 10.0


class LogGate:
    """
    Owns the TCP socket, the allow-list, a thread that takes records out, and their log file.

    Attributes:
        address: (host, port) for `Node(loghost, logport)`.
        key_path: File with the keys a client needs; `PIPELINE_LOG_KEY` names it.
    """

    def __init__(self, directory: Path, interface: str = "*") -> None:
        """
        Make keys, let them in, bind to a free port; from now on records that arrive are logged.

        Args:
            directory: Of the run's log files, and for the key file; private to the user.
            interface: Address to listen on; `*` is all.

        Raises:
            PipelineError: If the key file cannot be written or no port be had.
        """
        server_public, server_secret = zmq.curve_keypair()
        client_public, client_secret = zmq.curve_keypair()
        self.key_path = directory / KEY_FILE
        keys = {"server": server_public, "public": client_public, "secret": client_secret}
        self._context: zmq.Context[Any] = zmq.Context()
        for chatty in ("zmq.auth", "asyncio"):  # with -d they tell of every handshake
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self._allow_list = ThreadAuthenticator(self._context)
        try:
            _write_private(self.key_path, json.dumps({name: key.decode() for name, key in keys.items()}))
            self._allow_list.start()
            self._allow_list.configure_curve_callback(domain="*", credentials_provider=_Allowed(client_public))
            port = self._listen(interface, server_public, server_secret)
        except (OSError, zmq.error.ZMQBaseError) as error:
            self._close_context()
            raise PipelineError(f"[remote] log_server = tcp: cannot listen on {interface}: {error}") from error
        self.address = (socket.gethostname() if interface == "*" else interface, port)
        self._is_closing = threading.Event()
        self._logs = LogWriter(directory, {}, {})
        self._thread = threading.Thread(target=self._serve, name="log gate", daemon=True)
        self._thread.start()

    def _listen(self, interface: str, public_key: bytes, secret_key: bytes) -> int:
        self._socket = self._context.socket(zmq.PULL)
        self._socket.curve_server = True
        self._socket.curve_publickey = public_key
        self._socket.curve_secretkey = secret_key
        self._socket.maxmsgsize = _MAX_RECORD_BYTES
        self._socket.linger = 0
        return int(self._socket.bind_to_random_port(f"tcp://{interface}"))

    @property
    def environment(self) -> dict[str, str]:
        """What a script needs to find the gate: `Node(*os.environ['PIPELINE_LOG_SERVER'].split(':'))`."""
        return {SERVER_VARIABLE: "{}:{}".format(*self.address), KEY_VARIABLE: str(self.key_path)}

    def close(self) -> None:
        """Take what has arrived, close the port and remove the keys; safe to call twice."""
        if self._is_closing.is_set():
            return
        self._is_closing.set()
        self._thread.join(_JOIN_S)
        self._logs.close()
        self._close_context()

    def _close_context(self) -> None:
        self._allow_list.stop()
        self._context.destroy(linger=0)
        self.key_path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while not self._is_closing.is_set():
            if self._socket.poll(_POLL_MS):
                self._take(self._socket.recv())
        for _ in range(_MAX_LAST_RECORDS):  # a script that does not stop must not keep us
            if not self._socket.poll(0):
                return
            self._take(self._socket.recv())

    def _take(self, message: bytes) -> None:
        try:
            record = json.loads(message)
            float(record["t"]), int(record["l"]), str(record["n"]), str(record["m"])
        except (ArithmeticError, KeyError, RecursionError, TypeError, ValueError):
            log.warning("log server: a message over TCP is not a log record; dropped")
        else:
            self._logs.write_foreign(record)


class _Allowed:
    """Answers ZAP requests: one public key (Z85 text) is let in."""

    def __init__(self, public_key: bytes) -> None:
        self._public_key = public_key
        self._refused: set[bytes] = set()  # ZeroMQ tries again ten times a second: each is told of once

    def callback(self, domain: str, key: bytes) -> bool:
        is_known = hmac.compare_digest(key, self._public_key)
        if not is_known and key not in self._refused and len(self._refused) < _MAX_REFUSED:
            self._refused.add(key)
            log.warning("log server: a peer with an unknown key tried to connect; refused")
        return is_known


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
