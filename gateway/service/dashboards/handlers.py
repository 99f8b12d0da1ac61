"""The routes of the login: Traefik asks one before each request for a dashboard; a login at the hub ends at the other.

A login needs no memory of the gateway: what a replica must know later, the browser keeps signed.
"""

import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cached_property

from aiohttp import web
from dask_gateway_server.models import Cluster

from gateway import settings
from gateway.identity import source
from gateway.identity.authenticator import PERSON
from gateway.identity.guard import CredentialRefused, TooManyAttempts
from gateway.identity.hub import HubUnavailable
from gateway.service import audit
from gateway.service.dashboards import addresses, logins, pages, signing
from gateway.service.dashboards.hub import LoginClient
from gateway.service.dashboards.logins import Visitor
from gateway.site import Backend, Site

ADMITTED = 204
TOKEN_KINDS = ("token", "bearer", "jupyterhub")
"""Schemes of an ``Authorization`` header with a JupyterHub token."""

FindCluster = Callable[[str], Awaitable[Cluster | None]]


class DashboardLogin:
    """The login before the dashboards of one gateway."""

    def __init__(self, site: Site, backend: Backend, find_cluster: FindCluster, log: logging.Logger) -> None:
        self._site, self._backend, self._log = site, backend, log
        self._find_cluster = find_cluster
        self._is_secure = site.gateway(backend).address.startswith("https:")

    def add_routes(self, app: web.Application) -> None:
        """Add the two routes, and close the connections to the hub when the application ends."""
        app.router.add_get(settings.DASHBOARD_AUTHORIZE_PATH, self.authorize)
        app.router.add_get(settings.DASHBOARD_CALLBACK_PATH, self.call_back)
        app.cleanup_ctx.append(self._connected)

    async def authorize(self, request: web.Request) -> web.Response:
        """Answer 204 if the visitor may see the dashboard; otherwise the answer that Traefik gives to the visitor.

        Host and scheme come from the site: in front of Traefik stands another proxy, whose headers Traefik replaces.
        """
        path = request.headers.get("X-Forwarded-Uri", "")
        cluster = addresses.cluster_of(path)
        if cluster is None:
            return pages.page(403, pages.REFUSED)
        token = _token_of(request)
        if token is not None:
            return await self._authorize_token(request, token, cluster)
        visitor = logins.visitor_of(self._key, request.cookies.get(logins.LOGIN_COOKIE, ""), cluster, time.time())
        if visitor is not None:
            return await self._answer_of(request, visitor, cluster)
        return self._begin(path, cluster) if _is_navigation(request) else _unauthorized(pages.NO_LOGIN)

    async def call_back(self, request: web.Request) -> web.Response:
        """Finish a login that this browser began; answer with the cookie of the cluster and the way back."""
        now = time.time()
        begun = logins.begun_at(self._key, request.query.get("state", ""), now)
        if begun is None:
            return pages.page(400, pages.STALE)
        path, cluster, nonce = begun
        if not logins.is_same(nonce, request.cookies.get(logins.state_cookie_name(cluster))):
            return pages.page(400, pages.STALE)
        try:
            visitor = await self._hub.visitor_of_code(request.query.get("code", ""))
        except CredentialRefused:
            return pages.page(403, pages.HUB_REFUSES)
        except HubUnavailable as error:
            return self._unavailable(error)
        answer = await self._answer_of(request, visitor, cluster)
        _record(request, visitor, "log in at dashboard", cluster, answer.status)
        if answer.status == ADMITTED:
            answer = self._admit(visitor, path, cluster, now)
        answer.del_cookie(logins.state_cookie_name(cluster), path=settings.DASHBOARD_CALLBACK_PATH)
        return answer

    async def _authorize_token(self, request: web.Request, token: str, cluster: str) -> web.Response:
        try:
            visitor = await self._hub.visitor_of_token(token, request.get(source.SOURCE, source.UNKNOWN))
        except CredentialRefused:
            return _unauthorized(pages.UNKNOWN_TOKEN)
        except TooManyAttempts:
            return pages.page(429, pages.TOO_MANY)
        except HubUnavailable as error:
            return self._unavailable(error)
        answer = await self._answer_of(request, visitor, cluster)
        if visitor.is_administrator or answer.status != ADMITTED:
            _record(request, visitor, "open dashboard", cluster, answer.status)
        return answer

    async def _answer_of(self, request: web.Request, visitor: Visitor, cluster: str) -> web.Response:
        request[PERSON] = visitor.name
        if logins.may_see(visitor, await self._find_cluster(cluster)):
            return web.Response(status=ADMITTED)
        return pages.page(403, pages.REFUSED)

    def _begin(self, path: str, cluster: str) -> web.Response:
        nonce, now = secrets.token_urlsafe(24), time.time()
        state = logins.state(self._key, addresses.return_path(path, cluster), nonce, now)
        answer = _redirect(addresses.login_address(self._site, self._backend, state))
        answer.set_cookie(
            logins.state_cookie_name(cluster),
            nonce,
            max_age=logins.STATE_SECONDS,
            path=settings.DASHBOARD_CALLBACK_PATH,
            secure=self._is_secure,
            httponly=True,
            samesite="Lax",
        )
        return answer

    def _admit(self, visitor: Visitor, path: str, cluster: str, now: float) -> web.Response:
        answer = _redirect(path)
        answer.set_cookie(
            logins.LOGIN_COOKIE,
            logins.login_cookie(self._key, visitor, cluster, now),
            max_age=logins.LOGIN_SECONDS,
            path=addresses.cookie_path(cluster),
            secure=self._is_secure,
            httponly=True,
            samesite="Lax",
        )
        return answer

    def _unavailable(self, error: HubUnavailable) -> web.Response:
        self._log.error("%s", error)
        return pages.page(502, pages.HUB_UNAVAILABLE)

    @cached_property
    def _secret(self) -> str:
        return settings.hub_token()

    @cached_property
    def _key(self) -> bytes:
        return signing.derived_key(self._secret)

    @cached_property
    def _hub(self) -> LoginClient:
        return LoginClient(self._site, self._backend, self._secret)

    async def _connected(self, _: web.Application) -> AsyncIterator[None]:
        yield
        if "_hub" in self.__dict__:
            await self._hub.close()


def _record(request: web.Request, visitor: Visitor, action: str, cluster: str, status: int) -> None:
    """Write the audit line of a visit."""
    audit.LOGGER.info(
        audit.line(
            user=visitor.name,
            role="administrator" if visitor.is_administrator else "user",
            source=request.get(source.SOURCE, source.UNKNOWN),
            action=action,
            cluster=cluster,
            outcome="accepted" if status == ADMITTED else "refused",
            status=str(status),
        )
    )


def _token_of(request: web.Request) -> str | None:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if kind.lower() in TOKEN_KINDS else None


def _is_navigation(request: web.Request) -> bool:
    """Return whether a person opens a page: a program, a script of a page and a websocket can't follow to a login."""
    is_read = request.headers.get("X-Forwarded-Method", "GET") == "GET"
    return is_read and "text/html" in request.headers.get("Accept", "")


def _redirect(address: str) -> web.Response:
    return web.Response(status=302, headers={"Location": address, "Cache-Control": "no-store"})


def _unauthorized(sentence: str) -> web.Response:
    answer = pages.page(401, sentence)
    answer.headers["WWW-Authenticate"] = "token"
    return answer
