"""Keep users' tokens off plain HTTP where the site has certificates.

The stock client (``Gateway._request`` of dask-gateway 2026.3.0) sends its token after a request without it was answered
by 401. An earlier refusal therefore keeps the token on the user's machine. A redirect does not: the client repeats its
request at the first address, now with the token, and aiohttp drops the token on the way to https.
"""

import ipaddress

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway import settings
from gateway.identity import source
from gateway.site import Gateway, Tls

SCHEME = "X-Forwarded-Proto"
"""Header in which Traefik notes the scheme of a request. Requests that do not come through Traefik lack it."""
SECURE = ("https", "wss")
ALWAYS_SERVED = ("/api/health", settings.DASHBOARD_AUTHORIZE_PATH)
"""Paths that serve no user: probes ask one of them, and Traefik the other, after it has noted the scheme."""
API = "/api/"
REFUSED_STATUS = 422
"""The stock client shows the text of an answer with this status."""


def refusing(gateway: Gateway) -> Middleware:
    """Return the middleware that admits to a gateway by plain HTTP only programs of the networks that the site lists.

    It sends browsers to the https address, and answers 422 with advice to all other programs.
    """

    @web.middleware
    async def refuse_plain_http(request: web.Request, handler: Handler) -> web.StreamResponse:
        if gateway.tls is None or request.headers.get(SCHEME, SECURE[0]) in SECURE or _is_served(request, gateway.tls):
            return await handler(request)
        if request.method in ("GET", "HEAD") and "text/html" in request.headers.get("Accept", ""):
            address = f"{gateway.address.rstrip('/')}{request.path_qs}"
            return web.Response(status=302, headers={"Location": address, "Cache-Control": "no-store"})
        return web.json_response({"error": _advice(gateway.address)}, status=REFUSED_STATUS)

    return refuse_plain_http


def _is_served(request: web.Request, tls: Tls) -> bool:
    if request.path in ALWAYS_SERVED:
        return True
    if not request.path.startswith(API):
        return False
    # Jobs of SLURM report to the gateway by plain HTTP. Their tokens open their own cluster only.
    has_cluster_token = request.headers.get("Authorization", "").startswith("token ")
    return has_cluster_token or _is_listed(request[source.SOURCE], tls)


def _is_listed(address: str, tls: Tls) -> bool:
    if address == source.UNKNOWN:
        return False
    return any(ipaddress.ip_address(address) in network for network in tls.plain_http_networks)


def _advice(address: str) -> str:
    return (
        "The gateway does not serve your network by plain HTTP, which shows your token to others on the way:"
        f" use its address {address} in place of the one that begins with http://."
    )
