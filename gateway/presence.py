"""What gateways do with the reports of schedulers (:mod:`gateway.preload`)."""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from dask_gateway_server.routes import api_handler

CLIENTS = "/api/v1/clusters/{cluster_name}/clients"
"""That a client is connected."""
START = "/api/v1/clusters/{cluster_name}/start"
"""That the scheduler listens."""


def add_route(app: web.Application, path: str, noted: Callable[[str], Awaitable[None]]) -> None:
    """Take reports of a kind, which a scheduler makes with its cluster's token; ``noted`` gets the cluster's name."""

    async def note(request: web.Request) -> web.Response:
        await noted(request.match_info["cluster_name"])
        return web.Response()

    app.router.add_post(path, api_handler(note, token_authenticated=True))


def with_preload(command: Sequence[str], path: str) -> list[str]:
    """A scheduler's command that loads a file too, before upstream's own module: the options of that follow it."""
    first = list(command).index("--preload")
    return [*command[:first], "--preload", path, *command[first:]]
