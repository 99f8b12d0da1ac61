"""A scheduler's dashboard that is imported at the first request for one of its pages.

distributed imports bokeh before a scheduler listens: a second of CPU time, half of the start (not reported upstream).

One file, standard library only, for Python >= 3.8: it runs in the user's interpreter.
"""

import asyncio
import importlib
import importlib.util
import logging
import sys
from types import ModuleType
from typing import Any

MODULE = "distributed.dashboard.scheduler"

logger = logging.getLogger("distributed.scheduler.gateway")


def import_late() -> None:
    """Replace distributed's dashboard by one that is imported at its first request; do nothing without bokeh.

    Without bokeh distributed itself shows a page that asks for it.
    """
    if importlib.util.find_spec("bokeh") is None:
        return
    package: Any = importlib.import_module(MODULE.rpartition(".")[0])
    late: Any = ModuleType(MODULE)
    late.connect = LateDashboard
    sys.modules[MODULE] = package.scheduler = late


class LateDashboard:
    """An application of a ``RoutingApplication`` that replaces itself by the dashboard; made like ``connect``."""

    def __init__(self, application: Any, http_server: Any, scheduler: Any, prefix: str = "") -> None:
        self._application, self._http_server, self._scheduler = application, http_server, scheduler
        self._prefix = prefix
        self._opening: Any = None
        application.add_application(self)

    def find_handler(self, request: Any, **_: Any) -> "LateRequest":
        """Return the delegate of a request that no other application answers."""
        return LateRequest(self, request)

    async def handler_of(self, request: Any) -> Any:
        """Return the dashboard's own delegate of a request, once the dashboard is imported."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        await asyncio.shield(self._opening)
        return self._application.find_handler(request)

    async def _open(self) -> None:
        del sys.modules[MODULE]
        try:
            # In a thread, because the scheduler goes on meanwhile.
            dashboard = await asyncio.get_running_loop().run_in_executor(None, importlib.import_module, MODULE)
            dashboard.connect(self._application, self._http_server, self._scheduler, prefix=self._prefix)
        except Exception:
            logger.exception("The dashboard can't be imported")
            self._ask_for_bokeh()
        self._application.applications.remove(self)

    def _ask_for_bokeh(self) -> None:
        """Add the page that distributed shows where bokeh is missing or too old."""
        from distributed.http.utils import get_handlers  # noqa: PLC0415 - the gateways don't have it

        modules = ["distributed.http.scheduler.missing_bokeh"]
        self._application.add_handlers(".*", get_handlers(self._scheduler, modules, prefix=self._prefix))


class LateRequest:
    """A ``tornado.httputil.HTTPMessageDelegate`` that holds a request until the dashboard is imported."""

    handler_class = object
    """``RoutingApplication`` asks whether this is a subclass of tornado's ``ErrorHandler``."""

    def __init__(self, dashboard: LateDashboard, request: Any) -> None:
        self._dashboard, self._request = dashboard, request
        self._delegate: Any = None

    async def headers_received(self, start_line: Any, headers: Any) -> None:
        """Import the dashboard, then pass the request on."""
        self._delegate = await self._dashboard.handler_of(self._request)
        received = self._delegate.headers_received(start_line, headers)
        if received is not None:
            await received

    def data_received(self, chunk: bytes) -> Any:
        """Pass a part of the request's body on."""
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        """Answer the request."""
        self._delegate.finish()

    def on_connection_close(self) -> None:
        """Pass on that the browser has gone, unless it went before the dashboard was imported."""
        if self._delegate is not None:
            self._delegate.on_connection_close()
