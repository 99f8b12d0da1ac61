"""Check the addresses to which the proxy may carry connections. Pure."""

import ipaddress
import re
from collections.abc import Set
from typing import NamedTuple

LEAST_PORT = 1024
MOST_PORT = 65535
_TARGET = re.compile(r"(?P<scheme>tls|http)://(?P<host>[^/:@\s]{1,253}):(?P<port>[0-9]{1,5})", re.ASCII)
_HOST_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
"""The last label begins with a letter, so that no resolver takes the name for a number (``127.1``, ``0x7f000001``)."""


class Address(NamedTuple):
    """Host and port of a scheduler or a dashboard on a compute node."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def address_of(target: str, scheme: str, own_hosts: Set[str]) -> Address:
    """Return the address in a URL such as ``tls://node1:34567``.

    Args:
        target: URL of scheme, host (name or IPv4 address) and port (1024 to 65535), without a path.
        scheme: ``tls`` of a scheduler, ``http`` of a dashboard.
        own_hosts: names and addresses of the submission host, whose own services no route may reach.

    Raises:
        ValueError: for any other URL.
    """
    found = _TARGET.fullmatch(target) if isinstance(target, str) else None
    if found is None or found["scheme"] != scheme:
        raise ValueError(f"The address {target!r:.100} is not of the form {scheme}://HOST:PORT.")
    host, port = found["host"].lower(), int(found["port"])
    if not LEAST_PORT <= port <= MOST_PORT:
        raise ValueError(f"The port of {target!r} is not between {LEAST_PORT} and {MOST_PORT}.")
    if host in own_hosts or host.partition(".")[0] == "localhost" or not _is_of_another_host(host):
        raise ValueError(f"The host of {target!r} is not that of a compute node.")
    return Address(host, port)


def _is_of_another_host(host: str) -> bool:
    if _HOST_NAME.fullmatch(host):
        return True
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast)
