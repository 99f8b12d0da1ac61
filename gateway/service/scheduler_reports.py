"""Receive the reports that schedulers send (:mod:`gateway.as_user.preload`), on both gateways."""

import time
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from dask_gateway_server.routes import api_handler

CLIENTS = "/api/v1/clusters/{cluster_name}/clients"
"""Path of the report that a client is connected."""
START = "/api/v1/clusters/{cluster_name}/start"
"""Path of the report that the scheduler listens."""

LEAST_SECONDS = 1.0
"""Least mean distance in time between reports of one kind from one cluster: each may cause a write."""
BURST = 8
"""Reports that may follow each other without distance: a scheduler sends several while it starts and is scaled."""
MOST_REMEMBERED = 4096


class Pace:
    """Bound the rate of reports of one kind, for each cluster alone (a token bucket)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: dict[str, float] = {}
        """Cluster -> when its bucket is full again."""

    def check(self, name: str) -> None:
        """Count a report of a cluster. Raises ``HTTPTooManyRequests`` when the cluster has sent too many."""
        now = self._clock()
        full_at = max(self._full_at.get(name, now), now) + LEAST_SECONDS
        if full_at - now > BURST * LEAST_SECONDS:
            raise web.HTTPTooManyRequests(
                reason=f"The gateway takes one report a second of a cluster; retry in {LEAST_SECONDS:g} s."
            )
        self._full_at[name] = full_at
        if len(self._full_at) > MOST_REMEMBERED:
            self._full_at = {cluster: full for cluster, full in self._full_at.items() if full > now}


def take_clients(app: web.Application, noted: Callable[[str], Awaitable[None]]) -> None:
    """Add the route for reports that a client is connected. A scheduler authenticates with its cluster's token.

    ``noted`` gets the cluster's name.
    """
    _add_route(app, CLIENTS, noted)


def take_starts(app: web.Application, noted: Callable[[str], Awaitable[None]]) -> None:
    """Add the route for reports that a scheduler listens. ``noted`` gets the cluster's name.

    The report tells no address: that comes from Kubernetes alone.
    """
    _add_route(app, START, noted)


def _add_route(app: web.Application, path: str, noted: Callable[[str], Awaitable[None]]) -> None:
    pace = Pace()

    async def answer(request: web.Request) -> web.Response:
        name = request.match_info["cluster_name"]
        pace.check(name)
        await noted(name)
        return web.Response()

    app.router.add_post(path, api_handler(answer, token_authenticated=True))


def with_preload(command: Sequence[str], path: str) -> list[str]:
    """Return the scheduler's command with one more ``--preload``, for the file at the path.

    It stands before upstream's own preload module, because the options of that module follow its name.
    """
    first = list(command).index("--preload")
    return [*command[:first], "--preload", path, *command[first:]]
