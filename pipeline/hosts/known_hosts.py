"""
known_hosts files: which keys are known of a host, and adding one.

Read here and not by paramiko, which takes `@revoked` for a host's name, knows no patterns and keeps one key per type.
Format: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
"""

import base64
import binascii
import fcntl
import hashlib
import hmac
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KnownKey", "add_key", "find_keys", "name_in_known_hosts"]

DEFAULT_PORT = 22


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One line's key: its type, its base64 text, where it stands (file:line), and whether it is revoked."""

    kind: str
    text: str
    where: str
    is_revoked: bool


def name_in_known_hosts(address: str, port: int) -> str:
    """Return how a host is called in known_hosts."""
    return address.lower() if port == DEFAULT_PORT else f"[{address.lower()}]:{port}"


def find_keys(files: Sequence[str], name: str) -> list[KnownKey]:
    """Return all keys known of `name`; files that are not there or cannot be read hold none, as for ssh."""
    return [key for file in files for key in _keys_in(file, name)]


def add_key(file: str, name: str, kind: str, text: str) -> list[KnownKey]:
    """
    Append a key unless something is known of `name` by now; several threads and processes may do so at once.

    Returns:
        What the file holds for `name` afterwards: the new key, or what another was first to add.

    Raises:
        OSError: If the file cannot be written.
    """
    path = Path(file)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not list(_keys_in(file, name)):
            size = os.fstat(descriptor).st_size
            unfinished = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            line = f"{name} {kind} {text}\n".encode()
            os.write(descriptor, b"\n" + line if unfinished else line)
        return list(_keys_in(file, name))
    finally:
        os.close(descriptor)


def _keys_in(file: str, name: str) -> Iterator[KnownKey]:
    try:
        lines = Path(file).read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        # A @cert-authority signs host certificates, which paramiko does not ask for: not a host's own key.
        if len(words) < 3 or words[0].startswith("#") or marker not in ("", "@revoked"):
            continue
        if _is_named(name, words[0]):
            yield KnownKey(words[1], words[2], f"{file}:{number}", marker == "@revoked")


def _is_named(name: str, patterns: str) -> bool:
    if patterns.startswith("|1|"):
        return _is_hash_of(name, patterns)
    is_named = False
    for pattern in patterns.lower().split(","):
        if _matches(name, pattern.removeprefix("!")):
            if pattern.startswith("!"):
                return False
            is_named = True
    return is_named


def _matches(name: str, pattern: str) -> bool:
    # Not fnmatch: in [127.0.0.2]:2222 the brackets are meant as they stand.
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, name) is not None


def _is_hash_of(name: str, hashed: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in hashed.split("|")[2:4])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(digest, hmac.digest(salt, name.encode(), hashlib.sha1))
