"""Decide where a scheduler is: its host comes from SLURM or Kubernetes, and from the scheduler only a port. Pure.

Proxies and the gateway itself connect to these addresses. A scheduler runs its user's code, so its own word about its
host could lead them to any service that they reach.
"""

import ipaddress
import re
from collections.abc import Collection

from gateway.errors import Refusal

LEAST_PORT, MOST_PORT = 1024, 65535
"""Ports below belong to the services of a machine."""
NODE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
"""A host name, as SLURM gives it for the one node of a job."""
URL = re.compile(r"(?:tls|https?)://(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):(?P<port>[0-9]{1,5})/?")
"""The form of an address in a heartbeat."""


def port_of(address: str, own_ports: Collection[int]) -> int:
    """Return the port of an address that a scheduler reports. Raises :class:`Refusal` for a port that it can't have.

    ``own_ports`` are those of the gateway's processes.
    """
    match = URL.fullmatch(address)
    if match is None:
        raise Refusal(f"{address[:80]!r} is not the address of a scheduler, such as 'tls://10.0.0.1:40001'.")
    port = int(match["port"])
    if not LEAST_PORT <= port <= MOST_PORT or port in own_ports:
        raise Refusal(f"A scheduler can't listen at port {port}: use a port from 32768 to 60999.")
    return port


def checked_host(address: str, own_hosts: Collection[str] = ()) -> str:
    """Return the IP address of a scheduler's machine as URLs write it, IPv6 without brackets.

    ``own_hosts`` are the addresses of the gateway's own machine. Raises :class:`Refusal` for one of these, for loopback
    and for all addresses that no single other machine has.
    """
    try:
        host = ipaddress.ip_address(address)
    except ValueError:
        raise Refusal(f"{address[:80]!r} is not an IP address.") from None
    # IPv4 addresses in IPv6's form are reserved ones.
    if host.is_loopback or host.is_unspecified or host.is_multicast or host.is_link_local or host.is_reserved:
        raise Refusal(f"{address[:80]!r} is not the address of a scheduler's machine.")
    if str(host) in own_hosts:
        raise Refusal(f"{address[:80]!r} is the address of the gateway's own machine.")
    return str(host)


def url(scheme: str, host: str, port: int) -> str:
    """Return the address of a port; ``host`` is an IP address."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
