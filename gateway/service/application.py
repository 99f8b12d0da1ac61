"""Run upstream's application with the addresses and the request log of this facility. Both gateways use it."""

import asyncio
import signal

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from dask_gateway_server.app import DaskGateway
from traitlets import List, Unicode

from gateway import settings
from gateway.identity import source
from gateway.service import audit, sockets

CLOSING_SECONDS = 15.0
"""How long the server waits, after SIGTERM, for answers; upstream's value."""

BACKLOG = 1024
"""Connections that may wait to be accepted, as all do while the server restarts; the kernel may allow fewer."""

QUIET = ("/api/health", settings.DASHBOARD_AUTHORIZE_PATH)
"""Paths that probes and Traefik ask so often that only the log of debugging has their accepted requests."""


class RequestLog(AbstractAccessLogger):
    """Log each request with its user and source address. Upstream's log has neither."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Log one request; ``time`` is its duration in seconds."""
        if response.status >= 500:
            log = self.logger.error
        elif response.status >= 400:
            log = self.logger.warning
        elif request.path in QUIET:
            log = self.logger.debug
        else:
            log = self.logger.info
        log(
            "%d %s %s %.3fms user=%s source=%s",
            response.status,
            request.method,
            # The query of a login's end has the hub's code.
            request.path if request.path == settings.DASHBOARD_CALLBACK_PATH else request.path_qs,
            time * 1000,
            audit.plain(audit.person_of(request) or "-"),
            request.get(source.SOURCE, source.UNKNOWN),
        )


class GatewayApplication(DaskGateway):  # type: ignore[misc] # upstream has no types
    """Upstream's application, which listens on further addresses too."""

    further_addresses = List(Unicode(), help="More addresses to listen on, each HOST:PORT.", config=True)

    async def setup(self) -> None:
        """Set authenticator and back end up, then listen.

        Upstream's own method can't be reused: it has one address, and its request log can't be replaced.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_shutdown_signal, number)
        audit.LOGGER.parent, audit.LOGGER.level = self.log, self.log.level
        await self.authenticator.setup(self.app)
        await self.backend.setup(self.app)
        self.runner = web.AppRunner(
            self.app,
            handle_signals=False,
            access_log_class=RequestLog,
            access_log=self.log,
            shutdown_timeout=CLOSING_SECONDS,
        )
        await self.runner.setup()
        for address in (self.address, *self.further_addresses):
            host, _, port = address.rpartition(":")
            await _site(self.runner, host, int(port)).start()
            self.log.info("The API server listens at %s", address)


def _site(runner: web.AppRunner, host: str, port: int) -> web.BaseSite:
    held = sockets.passed(host, port)
    if held is None:
        return web.TCPSite(runner, host, port, backlog=BACKLOG)
    return web.SockSite(runner, held, backlog=BACKLOG)
