"""HTTPS on the proxy's port, beside HTTP and the schedulers' TLS, where the site has certificates. Pure."""

from collections.abc import Mapping
from typing import Any

from gateway.service.dashboards import traefik
from gateway.site import SlurmGateway
from gateway.slurm.proxy.configuration import BOUND, SERVER

PLAIN_DASHBOARDS = "plain-dashboards"
"""Name of the router that brings requests for dashboards by plain HTTP to the server, which refuses them."""
SECURE = "{}-https"
"""Name of the router that serves by HTTPS what the router of that name serves by HTTP."""


def with_https(configuration: Mapping[str, Any], gateway: SlurmGateway) -> Mapping[str, Any]:
    """Return Traefik's configuration of all routes with those of HTTPS; the same one for a site without certificates.

    Traefik chooses by server name: its own names get the host's certificate, and clusters' names pass through.
    """
    if gateway.tls is None:
        return configuration
    routers = {**configuration["http"]["routers"], PLAIN_DASHBOARDS: _plain_dashboards()}
    tls = dict(configuration["tls"])
    certificate = gateway.tls.host_certificate
    if certificate is not None:
        own = " || ".join(f"Host(`{host}`)" for host in own_names(gateway))
        routers |= {SECURE.format(name): _secure(router, own) for name, router in routers.items()}
        tls["certificates"] = [{"certFile": certificate.certificate_file, "keyFile": certificate.key_file}]
    return {**configuration, "http": {**configuration["http"], "routers": routers}, "tls": tls}


def own_names(gateway: SlurmGateway) -> tuple[str, ...]:
    """Return the names that the proxy's certificate has: those of the address, of the schedulers' port, of the host."""
    return tuple(dict.fromkeys((gateway.host, gateway.proxy_host, gateway.submission_host)))


def _plain_dashboards() -> dict[str, Any]:
    priority = traefik.PLAIN_PRIORITY
    return {"rule": traefik.PLAIN_RULE, "priority": priority, "service": SERVER, "middlewares": [BOUND]}


def _secure(router: Mapping[str, Any], own: str) -> dict[str, Any]:
    return {**router, "rule": f"({own}) && ({router['rule']})", "tls": {}}
