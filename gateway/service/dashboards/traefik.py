"""Traefik's middlewares of a dashboard's route, as Traefik's configuration spells them on both back ends. Pure."""

from collections.abc import Mapping
from typing import Any

from gateway.settings import DASHBOARD_AUTHORIZE_PATH

CREDENTIALS = ("Authorization", "Cookie")
"""Headers of a visitor that the login reads, and that no user's scheduler gets."""
PLAIN_RULE = "PathPrefix(`/clusters/`) && HeaderRegexp(`X-Forwarded-Proto`, `^(http|ws)$`)"
"""Rule of the route that brings requests for dashboards by plain HTTP to the server, which refuses them
(:mod:`gateway.service.plain_http`). Traefik sets the header, unless a proxy that the site trusts has set it."""
PLAIN_PRIORITY = 1000
"""Precedes all routes of dashboards: Traefik's default priority is the rule's length."""
MOST_ANSWER_BYTES = 65536
"""Bound on the page that Traefik passes on in place of a dashboard."""


def login(server: str) -> dict[str, Any]:
    """Return the middleware that asks the gateway's server, a URL without a path, who may see a dashboard."""
    return {
        "forwardAuth": {
            "address": f"{server}{DASHBOARD_AUTHORIZE_PATH}",
            # A client must not choose the address about which Traefik asks.
            "trustForwardHeader": False,
            "authRequestHeaders": ["Accept", *CREDENTIALS],
            "maxResponseBodySize": MOST_ANSWER_BYTES,
        }
    }


def without_credentials(headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the middleware that keeps a visitor's credentials from a dashboard; it comes after the login.

    It sets these headers too, in place of the visitor's.
    """
    # Traefik removes a header whose value is empty.
    return {"headers": {"customRequestHeaders": {**dict.fromkeys(CREDENTIALS, ""), **(headers or {})}}}
