"""The part of Traefik's configuration that does not come from the namespace of users' clusters. Pure.

Traefik reads it from a file, because a route in Kubernetes leads to a Service that Traefik finds, and Traefik has no
right in the namespace of the API server's Service: the token of JupyterHub is a Secret there.
"""

from collections.abc import Mapping
from typing import Any

from gateway.kubernetes import names
from gateway.service.dashboards import traefik
from gateway.site import KubernetesGateway

API = "api"
"""Name of the API server's router, service and transport."""
RATE_LIMIT = "rate-limit"
"""Name of the middleware that bounds a client's requests to the API."""
PLAIN_DASHBOARDS = "plain-dashboards"
"""Name of the router of requests for dashboards by plain HTTP: the API server refuses them."""


def configuration(gateway: KubernetesGateway, certificate: str) -> dict[str, Any]:
    """Return the routes to the API server, and the default certificate, whose files are in a directory."""
    return {
        "http": {
            "routers": _routers(gateway),
            "middlewares": {RATE_LIMIT: {"rateLimit": _rate_limit(gateway)}},
            "services": {
                API: {
                    "loadBalancer": {"servers": [{"url": names.proxied_api_origin(gateway)}], "serversTransport": API}
                }
            },
            # A connection of its own for each request: Kubernetes sends none to a replica that is about to end.
            "serversTransports": {API: {"maxIdleConnsPerHost": -1}},
        },
        "tls": {
            "stores": {
                "default": {
                    "defaultCertificate": {"certFile": f"{certificate}/tls.crt", "keyFile": f"{certificate}/tls.key"}
                }
            }
        },
    }


def _routers(gateway: KubernetesGateway) -> dict[str, Any]:
    routers = {API: _router({"rule": "PathPrefix(`/`)"})}
    if gateway.tls is not None:
        routers[PLAIN_DASHBOARDS] = _router({"rule": traefik.PLAIN_RULE, "priority": traefik.PLAIN_PRIORITY})
    return routers


def _router(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a route to the API server: for requests that a rule matches, with a priority if the rule has one."""
    return {**rule, "entryPoints": [names.WEB_ENTRYPOINT], "middlewares": [RATE_LIMIT], "service": API}


def _rate_limit(gateway: KubernetesGateway) -> dict[str, Any]:
    bound = gateway.rate_limit
    limit: dict[str, Any] = {"average": bound.requests_per_second, "burst": bound.burst}
    # A trusted proxy in front of Traefik hides its clients' addresses, and sends them in X-Forwarded-For.
    if gateway.trusted_proxies:
        limit["sourceCriterion"] = {"ipStrategy": {"depth": 1}}
    return limit
