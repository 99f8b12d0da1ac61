"""What both gateways do with schedulers' reports that a client is connected (:mod:`gateway.preload`)."""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from dask_gateway_server.routes import api_handler

PATH = "/api/v1/clusters/{cluster_name}/clients"


def add_route(app: web.Application, noted: Callable[[str], Awaitable[None]]) -> None:
    """Take reports, which a scheduler makes with its cluster's token; ``noted`` gets the cluster's name."""

    async def note(request: web.Request) -> web.Response:
        await noted(request.match_info["cluster_name"])
        return web.Response()

    app.router.add_post(PATH, api_handler(note, token_authenticated=True))


def with_preload(command: Sequence[str], path: str) -> list[str]:
    """A scheduler's command that loads a file too, before upstream's own module: the options of that follow it."""
    first = list(command).index("--preload")
    return [*command[:first], "--preload", path, *command[first:]]
