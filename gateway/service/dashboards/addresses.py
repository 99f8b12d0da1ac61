"""Addresses of dashboards, and of the login that stands before them. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlencode

from gateway.settings import DASHBOARD_CALLBACK_PATH
from gateway.site import Backend, Site

MOST_CHARACTERS = 1024
"""Longest path of a dashboard's page that a login returns to."""
DASHBOARD = re.compile(r"/clusters/(?P<cluster>[a-z0-9]([a-z0-9.-]{0,126}[a-z0-9])?)/(?P<page>[!$-~]*)")
"""A dashboard's path as Traefik's routes match it: visible ASCII without quotes and "#". ``page`` has the query too."""
SEPARATOR = re.compile(r"[/\\?#;]")
"""Ends a segment of a path, in the eyes of some server."""
FIRST_PAGE = "status"


@dataclass(frozen=True)
class Client:
    """A gateway as JupyterHub's OAuth client. JupyterHub allows one address for the callback per service."""

    identifier: str
    callback: str


def client_of(site: Site, backend: Backend) -> Client:
    """Return a gateway's OAuth client, which JupyterHub must register for the gateway's service."""
    gateway = site.gateway(backend)
    # JupyterHub demands the prefix.
    return Client(f"service-{gateway.hub_service}", f"{gateway.address}{DASHBOARD_CALLBACK_PATH}")


def login_address(site: Site, backend: Backend, state: str) -> str:
    """Return the page of JupyterHub that logs a browser in and sends it to the gateway's callback."""
    client = client_of(site, backend)
    query = {
        "client_id": client.identifier,
        "redirect_uri": client.callback,
        "response_type": "code",
        "state": state,
    }
    return f"{site.identity.hub.public_url}/api/oauth2/authorize?{urlencode(query)}"


def cluster_of(path: str) -> str | None:
    """Return the name of the cluster to which the path of a request belongs, query included; None for other paths.

    A path that a server could read as another cluster's is none: with a segment ``..``, encoded once or twice.
    """
    found = DASHBOARD.fullmatch(path)
    if found is None:
        return None
    page = unquote(unquote(found["page"].partition("?")[0]))
    return None if {".", ".."} & set(SEPARATOR.split(page)) else found["cluster"]


def cookie_path(cluster: str) -> str:
    """Return the path to which browsers send the cookies of a cluster's dashboard, and no other cookie of ours."""
    return f"/clusters/{cluster}/"


def return_path(path: str, cluster: str) -> str:
    """Return where a login ends that began at a path of the cluster: the path, or the first page if it is too long."""
    return path if len(path) <= MOST_CHARACTERS else f"{cookie_path(cluster)}{FIRST_PAGE}"
