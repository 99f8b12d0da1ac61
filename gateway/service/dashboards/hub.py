"""Ask JupyterHub who a visitor of a dashboard is: OAuth 2 with an authorization code, or a user's token."""

import re
from typing import Any

import aiohttp

from gateway.service.dashboards import addresses
from gateway.service.dashboards.logins import Visitor
from gateway.site import Backend, Site

TIMEOUT = aiohttp.ClientTimeout(total=10)
"""Bounds each request to the hub, in seconds, with the time that it waits for a free connection."""
MOST_CONNECTIONS = 10
"""Bounds what visitors without a login make the hub do at once."""
CREDENTIAL = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}")
"""The form of a token or a code."""
REFUSED = (400, 401, 403, 404)


class HubUnavailableError(Exception):
    """JupyterHub does not answer, or answers what this module does not understand."""


class Hub:
    """JupyterHub, as the OAuth client of a gateway knows it."""

    def __init__(self, site: Site, backend: Backend, secret: str) -> None:
        self._hub = site.identity.hub
        self._client, self._secret = addresses.client_of(site, backend), secret
        services = (self._hub.service_name, site.gateway(backend).hub_service)
        self._accepted = {"access:services", *(f"access:services!service={name}" for name in services)}
        self._session = aiohttp.ClientSession(
            timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=MOST_CONNECTIONS), raise_for_status=False
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def visitor_of_code(self, code: str) -> Visitor | None:
        """Return the visitor who logged in; None if the hub refuses the code. Raises :class:`HubUnavailableError`."""
        if not CREDENTIAL.fullmatch(code):
            return None
        form = {
            "client_id": self._client.identifier,
            "client_secret": self._secret,
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._client.callback,
        }
        answer = await self._ask("POST", "oauth2/token", data=form)
        return None if answer is None else await self.visitor_of_token(str(answer.get("access_token", "")))

    async def visitor_of_token(self, token: str) -> Visitor | None:
        """Return the user of a token that may use the gateway; None otherwise. Raises :class:`HubUnavailableError`."""
        if not CREDENTIAL.fullmatch(token):
            return None
        answer = await self._ask("GET", "user", headers={"Authorization": f"token {token}"})
        if answer is None or answer.get("kind") != "user" or not self._accepted & set(answer.get("scopes", ())):
            return None
        return Visitor(str(answer["name"]), answer.get("admin") is True)

    async def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any] | None:
        """Return what the hub answers, or None where it refuses the credential."""
        try:
            async with self._session.request(method, f"{self._hub.api_url}/{path}", **options) as response:
                if response.status in REFUSED:
                    return None
                response.raise_for_status()
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise HubUnavailableError(f"JupyterHub can't verify a login now: {error!r}") from error
        if not isinstance(answer, dict):
            raise HubUnavailableError("JupyterHub does not answer with an object.")
        return answer
