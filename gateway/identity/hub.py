"""Ask JupyterHub whose token a request carries, and which account it has stored for a user."""

import ssl
from collections.abc import Mapping
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout
from dask_gateway_server.models import User
from prometheus_client import Counter

from gateway import site
from gateway.identity.guard import CredentialRefused

TIMEOUT = ClientTimeout(total=10)
"""Bounds each request to the hub, in seconds."""
UNKNOWN_TOKEN = frozenset({401, 403, 404})
"""Statuses of the hub's answer to a token that it does not know, or whose user it does not know."""
REQUESTS = Counter("dask_gateway_hub_requests", "Requests to JupyterHub.", ("subject",))


class HubUnavailable(Exception):  # noqa: N818 - the state of the hub, not a fault of the gateway
    """The hub does not answer, or its answer is none that the gateway understands."""


def advice(error: HubUnavailable) -> str:
    """Return what a user reads whose token the hub does not verify now."""
    return f"The gateway can't verify who you are now, because {error}: try again in a minute."


def trust(hub: site.Hub) -> ssl.SSLContext | bool:
    """Return how to verify the hub's certificate, as aiohttp takes it: by the site's authority, else by the system's.

    Raises ``OSError`` when the file of the site's authority can't be used.
    """
    if hub.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=hub.ca_file)
    except OSError as error:
        raise OSError(f"identity.hub.ca_file can't be used: {hub.ca_file} ({error})") from error


class Hub:
    """A client of JupyterHub's API. Each fault of the hub raises :class:`HubUnavailable`."""

    def __init__(self, session: ClientSession, url: str, trusted: ssl.SSLContext | bool) -> None:
        """Ask the hub at ``url``; for ``trusted`` see :func:`trust`."""
        self._session, self._url, self._trusted = session, url, trusted

    async def user_of(self, token: str, service: str) -> User:
        """Return the user of a token. Raises :class:`CredentialRefused` for a token without access to the service."""
        answer = await self._get("token", "user", token)
        if answer is None:
            raise CredentialRefused
        return user_in(answer, service)

    async def auth_state_of(self, name: str, token: str) -> Mapping[str, Any]:
        """Return a user's auth state, which may be empty. ``token`` is the gateway's own."""
        answer = await self._get("auth state", f"users/{name}", token)
        if answer is None:
            raise HubUnavailable("JupyterHub refuses the gateway's token, or does not know the user any more")
        state = answer.get("auth_state")
        return state if isinstance(state, dict) else {}

    async def _get(self, subject: str, path: str, token: str) -> Mapping[str, Any] | None:
        """Return the object at a path of the API; None when the hub refuses the token."""
        REQUESTS.labels(subject).inc()
        headers = {"Authorization": f"token {token}"}
        try:
            async with self._session.get(
                f"{self._url}/{path}", headers=headers, ssl=self._trusted, timeout=TIMEOUT, allow_redirects=False
            ) as response:
                if response.status in UNKNOWN_TOKEN:
                    return None
                if response.status != 200:
                    raise HubUnavailable(f"JupyterHub answers {response.status}")
                answer = await response.json()
        except (ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
            raise HubUnavailable(f"JupyterHub gives no readable answer ({type(error).__name__})") from error
        if not isinstance(answer, dict):
            raise HubUnavailable("JupyterHub's answer is no JSON object")
        return answer


def user_in(answer: Mapping[str, Any], service: str) -> User:
    """Return the user in the hub's answer about a token. A service of the hub is named ``service:NAME``.

    Raises :class:`CredentialRefused` when the token lacks access to the service, and :class:`HubUnavailable` when the
    answer is malformed.
    """
    name, kind, scopes, groups = (answer.get(key) for key in ("name", "kind", "scopes", "groups"))
    scopes, groups = scopes or [], groups or []
    if not isinstance(name, str) or not isinstance(kind, str) or not _are_texts(scopes) or not _are_texts(groups):
        raise HubUnavailable("JupyterHub's answer names no user")
    if not {"access:services", f"access:services!service={service}"} & set(scopes):
        raise CredentialRefused
    # A user's name could look like that of a service.
    full_name = name if kind == "user" and ":" not in name else f"{kind}:{name}"
    return User(full_name, groups=groups, admin=answer.get("admin") is True)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
