"""Take the listening sockets that systemd holds for this process, as ``sd_listen_fds(3)`` describes."""

import os
import socket
from collections.abc import Mapping

FIRST_DESCRIPTOR = 3
"""Number of the first descriptor that systemd passes."""


def descriptors(environment: Mapping[str, str], process_id: int) -> range:
    """Return the descriptors that systemd passed to this process; none without a socket unit. Pure."""
    if environment.get("LISTEN_PID") != str(process_id):
        return range(0)
    return range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(environment.get("LISTEN_FDS", "0")))


def passed(host: str, port: int) -> socket.socket | None:
    """Return the passed socket that listens at an address, or None when systemd holds no port of this process.

    The caller closes it; systemd goes on to hold the port. Raises ``RuntimeError`` when systemd holds other ports only.
    """
    given = descriptors(os.environ, os.getpid())
    for descriptor in given:
        os.set_inheritable(descriptor, False)
        found = socket.socket(fileno=descriptor)
        if found.getsockname()[:2] == (host, port):
            return found
        found.detach()
    if given:
        # To bind the port here would leave it free after a crash.
        raise RuntimeError(
            f"systemd passed {len(given)} sockets, and none listens at {host}:{port}; name this address as"
            " ListenStream= in the service's socket unit"
        )
    return None
