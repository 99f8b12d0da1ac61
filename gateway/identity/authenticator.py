"""Authenticate users by their JupyterHub tokens, and find their accounts. Both gateways' API servers load this module.

JupyterHub names the user of a token; the site gives the user's class and the source of the account.
"""

from typing import Any

from aiohttp import ClientError, ClientTimeout, web
from dask_gateway_server.auth import JupyterHubAuthenticator, unauthorized
from dask_gateway_server.models import User
from traitlets import Instance, Integer, Unicode, default

from gateway import settings
from gateway.errors import Refusal
from gateway.identity import accounts, directory
from gateway.site import AccountSource, Backend, Site, UserClass

HUB_TIMEOUT = ClientTimeout(total=10)
"""Bounds our own requests to the hub, in seconds. Upstream's requests to the hub have no timeout."""


class FacilityUser(User):  # type: ignore[misc] # upstream has no types
    """A user of this facility, with the account under which the user's clusters run.

    The account is None for a user of the pool, because only the request for a cluster names the pool account.
    """

    def __init__(self, user: User, user_class: UserClass, account: accounts.Account | None) -> None:
        super().__init__(user.name, groups=user.groups, admin=user.admin)
        self.user_class, self.account = user_class, account


class HubAuthenticator(JupyterHubAuthenticator):  # type: ignore[misc] # upstream has no types
    """Give each JupyterHub user a class and an account; refuse users whose class this gateway does not serve."""

    site = Instance(Site)
    backend = Unicode(help="The back end whose user classes are served.", config=True)
    cache_max_age = Integer(help="How long the gateway caches a user, in seconds.", config=True)

    @default("cache_max_age")
    def _default_cache_max_age(self) -> int:
        return self.site.identity.directory.cache_seconds

    @default("site")
    def _default_site(self) -> Site:
        return settings.current_site()

    @default("jupyterhub_api_token")
    def _default_api_token(self) -> str:
        return settings.hub_token()

    @default("jupyterhub_api_url")
    def _default_api_url(self) -> str:
        return self.site.identity.hub.api_url

    @default("jupyterhub_service_name")
    def _default_service_name(self) -> str:
        return self.site.identity.hub.service_name

    async def setup(self, app: web.Application) -> None:
        """Open the HTTP session to the hub, and create the client of the directory."""
        await super().setup(app)
        self.directory = directory.of_identity(self.site.identity)

    def get_token(self, request: web.Request) -> str | None:
        """Return the token of the header ``Authorization: jupyterhub TOKEN``, or None without one.

        Upstream's method raises an exception for a header without a space (dask-gateway-server 2026.3.0, not reported).
        """
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        return token if kind == "jupyterhub" and token else None

    async def authenticate(self, request: web.Request) -> FacilityUser:
        """Return the user whose token the request carries.

        Answers 401 without a valid token, 422 with the reason when this gateway does not serve the user, and 502 when
        the hub does not answer.
        """
        try:
            user = await super().authenticate(request)
        except ClientError as error:
            self.log.error("JupyterHub can't be reached: %s", error)
            reason = "The gateway can't reach JupyterHub to verify your token: try again in a minute."
            raise web.HTTPBadGateway(reason=reason) from error
        except web.HTTPInternalServerError as error:
            # JupyterHub answers 403 to an unknown token; upstream turns that into an internal error
            # (dask-gateway-server 2026.3.0, not reported).
            if error.reason.startswith("Permission failure"):
                raise unauthorized("jupyterhub") from error
            raise
        try:
            return await self._facility_user(user)
        except Refusal as refusal:
            self.log.info("Refused user %s: %s", user.name, refusal)
            raise web.HTTPUnprocessableEntity(reason=str(refusal)) from refusal

    async def _facility_user(self, user: User) -> FacilityUser:
        identity = self.site.identity
        user_class = accounts.classify(user.name, identity.classes)
        gateway = self.site.gateway(Backend(self.backend))
        if user_class.name not in gateway.classes:
            raise Refusal(gateway.refusal)
        if user_class.account is AccountSource.POOL:
            return FacilityUser(user, user_class, None)
        if user_class.account is AccountSource.HUB:
            account = accounts.account_from_auth_state(user.name, await self._auth_state(user.name), identity.hub)
        else:
            account = await self._own_account(user.name)
        return FacilityUser(user, user_class, accounts.checked(account, identity))

    async def _own_account(self, name: str) -> accounts.Account:
        pool = self.site.identity.pool
        if pool is not None and pool.has(name):
            raise Refusal(f"{name!r} is the name of a pool account, not of a user: log in under your own user name.")
        return await self.directory.account(name)

    async def _auth_state(self, name: str) -> dict[str, Any] | None:
        headers = {"Authorization": f"token {self.jupyterhub_api_token}"}
        url = f"{self.jupyterhub_api_url}/users/{name}"
        async with self.session.get(url, headers=headers, ssl=self.ssl_context, timeout=HUB_TIMEOUT) as response:
            if response.status != 200:
                self.log.error("JupyterHub answers %d for %s", response.status, url)
                raise directory.DirectoryUnavailable(
                    f"JupyterHub can't give the account of {name!r} now: try again in a minute."
                )
            auth_state: dict[str, Any] | None = (await response.json()).get("auth_state")
            return auth_state
