"""Traefik's dynamic configuration: routers and services of the API server and of all clusters. Pure.

All entry points (``ansible/roles/gateway/templates/traefik.yml.j2``) have all routes, so routers name none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.as_user import dashboard_guard
from gateway.service.dashboards import traefik
from gateway.settings import DASHBOARD_CALLBACK_PATH
from gateway.slurm.proxy.addresses import Address

SERVER = "server"
"""Name of the API server's router and service."""
SERVER_PATHS = ("/api/", DASHBOARD_CALLBACK_PATH)
"""Beginnings of the paths that the API server answers."""
UNKNOWN = "unknown"
"""Name of the router of TLS connections without a cluster's server name. Its service has no servers, so Traefik closes
them; without it, Traefik would answer with a certificate of its own."""
BOUND = "bound"
"""Name of the middlewares that bound each source, of HTTP and of TCP."""
DASHBOARD_LOGIN = "dashboard-login"
"""Name of the middleware that asks the server who may see a dashboard."""
DASHBOARD_HEADERS = "dashboard-headers-{}"
"""Name of the middleware that keeps visitors' credentials from a cluster's dashboard, and gives it the secret."""
CLUSTER_PATH = "cluster-path"
"""Name of the middleware that removes ``/clusters/NAME`` from a dashboard's paths."""
MOST_REQUESTS = 512
"""Bound on the simultaneous requests of one source at one router. All users of an Ingress are one source."""
MOST_CONNECTIONS = 256
"""Bound on the connections of one source to one scheduler; a client has one."""
SERVER_NAME = "daskgateway-{}"
"""TLS server name of a cluster's scheduler, as clients form it from the cluster's name."""
CLUSTER_NAME = re.compile(r"[0-9a-f]{32}", re.ASCII)
"""Names of clusters, as upstream makes them (``uuid4().hex``)."""


@dataclass(frozen=True)
class Targets:
    """Where a cluster's scheduler and dashboard listen; None where the proxy has no route."""

    scheduler: Address | None = None
    dashboard: Address | None = None
    secret: str = ""
    """Secret by which the dashboard knows the proxy (:mod:`gateway.as_user.dashboard_guard`)."""


def dynamic_configuration(server: str, clusters: Mapping[str, Targets], pair: tuple[bytes, bytes]) -> dict[str, Any]:
    """Return Traefik's configuration of all routes.

    Args:
        server: URL of the API server.
        clusters: name, which :func:`checked_name` returned, -> targets.
        pair: certificate and key (PEM) of Traefik itself, which no client ever gets. Without them, Traefik 3.7 makes
            an RSA key at each change of the routes, and a new route takes 0.2 s longer.
    """
    certificate, key = pair
    dashboards = {name: targets.dashboard for name, targets in clusters.items() if targets.dashboard is not None}
    schedulers = {name: targets.scheduler for name, targets in clusters.items() if targets.scheduler is not None}
    paths = " || ".join(f"PathPrefix(`{path}`)" for path in SERVER_PATHS)
    return {
        "http": {
            "middlewares": {
                BOUND: {"inFlightReq": {"amount": MOST_REQUESTS, "sourceCriterion": {"ipStrategy": {"depth": 0}}}},
                DASHBOARD_LOGIN: traefik.login(server),
                **{DASHBOARD_HEADERS.format(name): _headers(clusters[name]) for name in dashboards},
                CLUSTER_PATH: {"stripPrefixRegex": {"regex": ["^/clusters/[0-9a-f]{32}"]}},
            },
            "routers": {
                SERVER: {"rule": paths, "service": SERVER, "middlewares": [BOUND]},
                **{name: _dashboard_router(name) for name in dashboards},
            },
            "services": {
                SERVER: _balancer({"url": server}),
                **{name: _balancer({"url": f"http://{address}"}) for name, address in dashboards.items()},
            },
        },
        "tcp": {
            "middlewares": {BOUND: {"inFlightConn": {"amount": MOST_CONNECTIONS}}},
            "routers": {
                UNKNOWN: {"rule": "HostSNI(`*`)", "service": UNKNOWN, "tls": {"passthrough": True}},
                **{name: _scheduler_router(name) for name in schedulers},
            },
            "services": {
                UNKNOWN: _balancer(),
                **{name: _balancer({"address": str(address)}) for name, address in schedulers.items()},
            },
        },
        "tls": {
            "stores": {
                "default": {"defaultCertificate": {"certFile": certificate.decode(), "keyFile": key.decode()}},
            },
        },
    }


def dashboard_middlewares(name: str) -> list[str]:
    """Return the names of the middlewares through which a request to a cluster's dashboard passes, in their order.

    The login needs the credentials and the whole path.
    """
    return [BOUND, DASHBOARD_LOGIN, DASHBOARD_HEADERS.format(name), CLUSTER_PATH]


def checked_name(name: str) -> str:
    """Return the name of a cluster. Raises ``ValueError`` for a text that is none."""
    if CLUSTER_NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r:.100} is not the name of a cluster.")
    return name


def _dashboard_router(name: str) -> dict[str, Any]:
    rule = f"Path(`/clusters/{name}`) || PathPrefix(`/clusters/{name}/`)"
    return {"rule": rule, "service": name, "middlewares": dashboard_middlewares(name)}


def _headers(targets: Targets) -> dict[str, Any]:
    return traefik.without_credentials({dashboard_guard.HEADER: targets.secret})


def _scheduler_router(name: str) -> dict[str, Any]:
    rule = f"HostSNI(`{SERVER_NAME.format(name)}`)"
    return {"rule": rule, "service": name, "middlewares": [BOUND], "tls": {"passthrough": True}}


def _balancer(*servers: dict[str, str]) -> dict[str, Any]:
    return {"loadBalancer": {"servers": list(servers)}}
