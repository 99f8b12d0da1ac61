"""Ask JupyterHub who a visitor of a dashboard is: OAuth 2 with an authorization code, or a user's token."""

import re

import aiohttp
from dask_gateway_server.models import User

from gateway.identity.authenticator import TOKENS
from gateway.identity.guard import CredentialRefused, Guard
from gateway.identity.hub import TIMEOUT, Hub, HubUnavailable, trust
from gateway.service.dashboards import addresses
from gateway.service.dashboards.logins import Visitor
from gateway.site import Backend, Site

MOST_CONNECTIONS = 10
"""Bounds what visitors make the hub do at once; a request waits for its connection within its timeout."""
CREDENTIAL = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}")
"""The form of a token or a code."""
REFUSED = (400, 401, 403)
"""Statuses of the hub's answer to a code that it has not given to this gateway."""


class LoginClient:
    """A gateway as the OAuth client of JupyterHub. Each fault of the hub raises ``HubUnavailable``."""

    def __init__(self, site: Site, backend: Backend, secret: str) -> None:
        self._client, self._secret = addresses.client_of(site, backend), secret
        self._own_service, self._service = site.gateway(backend).hub_service, site.identity.hub.service_name
        self._token_address = f"{site.identity.hub.api_url}/oauth2/token"
        trusted = trust(site.identity.hub)
        connector = aiohttp.TCPConnector(limit=MOST_CONNECTIONS, ssl=trusted)
        self._session = aiohttp.ClientSession(timeout=TIMEOUT, connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        self._hub = Hub(self._session, site.identity.hub.api_url, trusted)
        self._guard = Guard(TOKENS)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def visitor_of_code(self, code: str) -> Visitor:
        """Return the visitor who logged in. Raises ``CredentialRefused`` when the hub refuses the code."""
        if not CREDENTIAL.fullmatch(code):
            raise CredentialRefused
        token = await self._token_of(code)
        if not CREDENTIAL.fullmatch(token):
            raise HubUnavailable("JupyterHub's answer has no token")
        return _visitor(await self._hub.user_of(token, self._own_service))

    async def visitor_of_token(self, token: str, source: str) -> Visitor:
        """Return the user of a token that came from a source address.

        Raises ``CredentialRefused`` when it may not use the gateway, and ``TooManyAttempts``.
        """
        if not CREDENTIAL.fullmatch(token):
            raise CredentialRefused
        return _visitor(await self._guard.checked(source, token, lambda: self._hub.user_of(token, self._service)))

    async def _token_of(self, code: str) -> str:
        form = {
            "client_id": self._client.identifier,
            "client_secret": self._secret,
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._client.callback,
        }
        try:
            async with self._session.post(self._token_address, data=form, allow_redirects=False) as response:
                if response.status in REFUSED:
                    raise CredentialRefused
                if response.status != 200:
                    raise HubUnavailable(f"JupyterHub answers {response.status}")
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
            raise HubUnavailable(f"JupyterHub's answer can't be read ({type(error).__name__})") from error
        return str(answer.get("access_token", "")) if isinstance(answer, dict) else ""


def _visitor(user: User) -> Visitor:
    # Only a person looks as an administrator; the hub can give a service the same right.
    return Visitor(user.name, is_administrator=user.admin and ":" not in user.name)
