"""The connection of a call: its peer, the bounded request, the bounded answer."""

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

MOST_REQUEST_BYTES = 2**20
"""Bound on a request: the site bounds a user's variables, the largest part, to a fraction of it."""
MOST_ANSWER_BYTES = 2**16
MOST_TEXT = 2000
"""Bound on each text of an answer, in characters."""
REQUEST_SECONDS = 10
"""Timeout of each read of the request."""
CREDENTIALS = struct.Struct("3i")
"""The kernel's ``struct ucred``: pid, uid, gid."""


def peer(connection: socket.socket) -> int:
    """Return the uid of the process that opened the connection, as the kernel noted it."""
    content = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _, uid, _ = CREDENTIALS.unpack(content)
    return int(uid)


def received(connection: socket.socket) -> bytes:
    """Return all that the peer sends before it ends its side.

    Raises ``OSError``, or ``ValueError`` beyond :data:`MOST_REQUEST_BYTES`.
    """
    connection.settimeout(REQUEST_SECONDS)
    content = bytearray()
    while part := connection.recv(2**16):
        content += part
        if len(content) > MOST_REQUEST_BYTES:
            raise ValueError(f"the request has more than {MOST_REQUEST_BYTES} bytes")
    return bytes(content)


def send(connection: socket.socket, content: bytes) -> None:
    """Send an answer, and wait until the peer has read it. Raises ``OSError`` when the peer has gone.

    The kernel resets a connection that is closed before its request is read: the peer's last read would fail.
    """
    connection.settimeout(REQUEST_SECONDS)
    connection.sendall(content)
    connection.shutdown(socket.SHUT_WR)
    read = 0
    while (part := connection.recv(2**16)) and read <= MOST_REQUEST_BYTES:
        read += len(part)


def line(answer: Mapping[str, Any]) -> bytes:
    """Return an answer as one line, whose texts are cleaned of control characters and cut."""
    content = json.dumps({name: _cleaned(value) for name, value in answer.items()}).encode() + b"\n"
    if len(content) > MOST_ANSWER_BYTES:
        return line({"ok": False, "error": f"the answer has more than {MOST_ANSWER_BYTES} bytes"})
    return content


def _cleaned(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return "".join(character if character.isprintable() else " " for character in value[:MOST_TEXT])
