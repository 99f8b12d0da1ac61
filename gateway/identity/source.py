"""Tell from which address a request comes, through the proxies that the site trusts."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import web

from gateway.site import Backend, IpNetwork, Site

UNKNOWN = "unknown"
"""Source of a request whose proxies give no address."""
SOURCE = web.RequestKey("source", str)
"""Key of a request's source address in the request."""
FORWARDED = "X-Forwarded-For"
"""Header to which each proxy appends the address of its client."""
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Proxies:
    """The proxies whose X-Forwarded-For the gateway believes."""

    networks: tuple[IpNetwork, ...] = ()
    port: int | None = None
    """A port of the server that only the gateway's own proxy reaches."""

    def source_of(self, peer: str, port: int | None, forwarded: Iterable[str]) -> str:
        """Return the address nearest to the server that is not one of these proxies.

        ``peer`` is the other end of the connection, ``port`` the server's own port, ``forwarded`` the header's lines.
        """
        source = UNKNOWN
        addresses = [text.strip() for line in forwarded for text in line.split(",")]
        if port is None or port != self.port:
            addresses.append(peer)
        for text in reversed(addresses):
            address = _address(text)
            if address is None:
                break
            source = str(address)
            if not any(address in network for network in self.networks):
                break
        return source


def proxies_of(site: Site, backend: Backend) -> Proxies:
    """Return the proxies in front of a gateway."""
    if backend is Backend.KUBERNETES:
        return Proxies(site.kubernetes.trusted_proxies, site.kubernetes.proxied_api_port)
    # The server listens on loopback, where its own proxy connects.
    return Proxies((*LOOPBACK, *site.slurm.trusted_proxies))


def of_request(request: web.BaseRequest, proxies: Proxies) -> str:
    """Return the source address of a request."""
    own = None if request.transport is None else request.transport.get_extra_info("sockname")
    port = own[1] if isinstance(own, tuple) else None
    return proxies.source_of(request.remote or "", port, request.headers.getall(FORWARDED, []))


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
