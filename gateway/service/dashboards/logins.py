"""Logins: the cookies of a browser, and the decision who may see a dashboard. Pure."""

import hmac
from dataclasses import dataclass

from dask_gateway_server.models import Cluster, ClusterStatus

from gateway.service.dashboards import addresses, signing

LOGIN, STATE = "login", "state"
"""Purposes of signed claims."""
LOGIN_SECONDS = 3600
"""How long a browser may open pages of one dashboard after a login. JupyterHub renews a login without a question."""
STATE_SECONDS = 600
"""How long a person may take to log in."""
LOGIN_COOKIE = "dask-dashboard"
LIVING = (ClusterStatus.PENDING, ClusterStatus.RUNNING)


@dataclass(frozen=True)
class Visitor:
    """A user as JupyterHub names them."""

    name: str
    is_administrator: bool


def may_see(visitor: Visitor, cluster: Cluster | None) -> bool:
    """Return whether a visitor may see the dashboard of a cluster: its owner, or an administrator of the hub."""
    if cluster is None or cluster.status not in LIVING:
        return False
    return visitor.is_administrator or visitor.name == cluster.username


def login_cookie(key: bytes, visitor: Visitor, cluster: str, now: float) -> str:
    """Return the value of the cookie for one cluster. It is worthless at any other cluster's dashboard."""
    claims: signing.Claims = {"user": visitor.name, "administrator": visitor.is_administrator, "cluster": cluster}
    return signing.signed(key, LOGIN, claims, now + LOGIN_SECONDS)


def visitor_of(key: bytes, cookie: str, cluster: str, now: float) -> Visitor | None:
    """Return the visitor whom a cookie logs in at the cluster's dashboard; None if the cookie is not valid there."""
    claims = signing.verified(key, LOGIN, cookie, now)
    if claims is None or claims["cluster"] != cluster:
        return None
    return Visitor(str(claims["user"]), claims["administrator"] is True)


def state_cookie_name(cluster: str) -> str:
    """Return the name of the cookie with a begun login's nonce: one per cluster, so that logins don't collide."""
    return f"{LOGIN_COOKIE}-{cluster}"


def state(key: bytes, path: str, nonce: str, now: float) -> str:
    """Return the state that JupyterHub returns: where the login began, bound to the nonce in the browser's cookie."""
    return signing.signed(key, STATE, {"path": path, "nonce": nonce}, now + STATE_SECONDS)


def begun_at(key: bytes, given: str, now: float) -> tuple[str, str, str] | None:
    """Return path, cluster and nonce of the login that a state belongs to; None for a state that is not valid now."""
    claims = signing.verified(key, STATE, given, now)
    if claims is None:
        return None
    path = str(claims["path"])
    cluster = addresses.cluster_of(path)
    return None if cluster is None else (path, cluster, str(claims["nonce"]))


def is_same(nonce: str, cookie: str | None) -> bool:
    """Return whether the browser that returns from JupyterHub is the one that began the login."""
    return cookie is not None and hmac.compare_digest(nonce.encode(), cookie.encode(errors="replace"))
