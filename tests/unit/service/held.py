"""Play systemd's part for a process: hold listening sockets, and pass duplicates of them."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from gateway.service import sockets

HIGH = 500
"""The numbers from here on are free."""


def duplicates(*held: socket.socket) -> list[int]:
    """Return new descriptors of the sockets; their numbers follow one another."""
    found = [fcntl.fcntl(item.fileno(), fcntl.F_DUPFD, HIGH) for item in held]
    assert found == list(range(HIGH, HIGH + len(held)))
    return found


@contextmanager
def passed(*held: socket.socket) -> Iterator[None]:
    """Pass the sockets to this process, as systemd does at each start of a service."""
    given = duplicates(*held)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sockets, "FIRST_DESCRIPTOR", given[0])
            patch.setenv("LISTEN_PID", str(os.getpid()))
            patch.setenv("LISTEN_FDS", str(len(held)))
            yield
    finally:
        for descriptor in given:
            with suppress(OSError):
                os.close(descriptor)
