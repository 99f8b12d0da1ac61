"""Authenticate users by their JupyterHub tokens, and find their accounts. Both gateways' API servers load this module.

JupyterHub names the user of a token; the site gives the user's class and the source of the account.
"""

import copy
import re
from typing import Any, Self

from aiohttp import web
from dask_gateway_server.auth import JupyterHubAuthenticator, unauthorized
from dask_gateway_server.models import User
from traitlets import Instance, Integer, Unicode, default

from gateway import settings
from gateway.errors import Refusal
from gateway.identity import accounts, directory, hub, pool, source, verified
from gateway.identity.guard import Bounds, CredentialRefused, Guard, TooManyAttempts
from gateway.identity.hub import Hub, HubUnavailable, trust
from gateway.site import AccountSource, Backend, Site, UserClass

TOKENS = Bounds(attempts=10, attempt_seconds=2, refused_seconds=10)
"""Bounds on users' tokens that JupyterHub does not know."""
TOKEN = re.compile(r"[\x20-\x7e]{1,1024}")
"""A token that fits into a header of a request to the hub."""
PERSON = web.RequestKey("person", str)
"""Key of the name in the request whose token JupyterHub knows."""


class FacilityUser(User):  # type: ignore[misc] # upstream has no types
    """A user of this facility, with the account under which the user's clusters run."""

    def __init__(self, user: User, user_class: UserClass, account: accounts.Account) -> None:
        super().__init__(user.name, groups=user.groups, admin=user.admin)
        self.user_class, self.account = user_class, account
        self.token: str | None = None
        """Token of the request that this object belongs to. No object outlives its request with a token."""

    def with_token(self, token: str | None) -> Self:
        """Return the same user with the token of a request, or without one."""
        present = copy.copy(self)
        present.token = token
        return present

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy and a pickle contain: all but the token."""
        return {**self.__dict__, "token": None}


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
        self.hub = Hub(self.session, self.jupyterhub_api_url, trust(self.site.identity.hub))
        self.guard = Guard(TOKENS)
        self.directory = directory.of_identity(self.site.identity)

    def get_token(self, request: web.Request) -> str | None:
        """Return the token of the header ``Authorization: jupyterhub TOKEN``, or None without a well-formed one.

        Upstream's method raises an exception for a header without a space (dask-gateway-server 2026.3.0, not reported).
        """
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        return token if kind == "jupyterhub" and TOKEN.fullmatch(token) else None

    async def authenticate_and_handle(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Answer a user's request as upstream does, with a cookie that no script and no other site can use.

        The handler's user has the request's token, the user that upstream remembers for a cookie has none.
        """

        async def handle(request: web.Request) -> web.StreamResponse:
            request["user"] = request["user"].with_token(self.get_token(request))
            response: web.StreamResponse = await handler(request)
            return response

        response: web.StreamResponse = await super().authenticate_and_handle(request, handle)
        if self.cookie_name in response.cookies:
            cookie = response.cookies[self.cookie_name]
            cookie["httponly"], cookie["samesite"] = True, "Lax"
            cookie["secure"] = self.site.gateway(Backend(self.backend)).address.startswith("https:")
        return response

    async def authenticate(self, request: web.Request) -> FacilityUser:
        """Return the user whose token the request carries.

        Answers 401 without a valid token, 422 with the reason when this gateway does not serve the user, 429 when the
        source address has sent too many unknown tokens, and 502 for each fault of the hub.
        """
        token = self.get_token(request)
        if token is None:
            raise unauthorized("jupyterhub")
        try:
            user = await self.guard.checked(
                request[source.SOURCE], token, lambda: self.hub.user_of(token, self.jupyterhub_service_name)
            )
            request[PERSON] = user.name
            return await self._facility_user(user)
        except CredentialRefused as error:
            raise unauthorized("jupyterhub") from error
        except TooManyAttempts as error:
            reason = "Too many unknown tokens came from your address: try again in a minute."
            raise web.HTTPTooManyRequests(reason=reason) from error
        except HubUnavailable as error:
            self.log.error("%s", error)
            raise web.HTTPBadGateway(reason=hub.advice(error)) from error
        except Refusal as refusal:
            self.log.info("Refused user %s: %s", user.name, refusal)
            raise web.HTTPUnprocessableEntity(reason=str(refusal)) from refusal

    async def _facility_user(self, user: User) -> FacilityUser:
        identity = self.site.identity
        user_class = accounts.classify(user.name, identity.classes)
        gateway = self.site.gateway(Backend(self.backend))
        if user_class.name not in gateway.classes:
            raise Refusal(gateway.refusal)
        if user_class.account is AccountSource.DIRECTORY:
            account = await verified.own_account(user.name, identity, self.directory)
        else:
            account = await self._lent_account(user.name, user_class.account)
        return FacilityUser(user, user_class, accounts.checked(account, identity))

    async def _lent_account(self, name: str, account_source: AccountSource) -> accounts.Account:
        identity = self.site.identity
        state = await self.hub.auth_state_of(name, self.jupyterhub_api_token)
        stated = accounts.checked(accounts.account_from_auth_state(name, state, identity.hub), identity)
        entry = await self.directory.account_of_uid(stated.uid)
        return pool.lent(stated, entry, account_source, identity.pool)
