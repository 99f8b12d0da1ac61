"""What gateways do with the reports of schedulers (:mod:`gateway.as_user.preload`)."""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from dask_gateway_server.routes import api_handler

from gateway.as_user import preload

CLIENTS = "/api/v1/clusters/{cluster_name}/clients"
"""That a client is connected."""
START = "/api/v1/clusters/{cluster_name}/start"
"""That the scheduler listens."""


def take_clients(app: web.Application, noted: Callable[[str], Awaitable[None]]) -> None:
    """Take reports that a client is connected, which a scheduler makes with its cluster's token.

    ``noted`` gets the cluster's name.
    """

    async def take(request: web.Request) -> None:
        await noted(request.match_info["cluster_name"])

    _add_route(app, CLIENTS, take)


def take_starts(app: web.Application, noted: Callable[[str, str | None], Awaitable[None]]) -> None:
    """Take reports that a scheduler listens; ``noted`` gets the cluster's name and the scheduler's IP address.

    None instead of the address when the report comes from another one than it says: somebody translates addresses on
    the way, or the scheduler is not what it says.
    """

    async def take(request: web.Request) -> None:
        said = (await request.json()).get(preload.ADDRESS)
        await noted(request.match_info["cluster_name"], said if said == request.remote else None)

    _add_route(app, START, take)


def _add_route(app: web.Application, path: str, take: Callable[[web.Request], Awaitable[None]]) -> None:
    async def answer(request: web.Request) -> web.Response:
        await take(request)
        return web.Response()

    app.router.add_post(path, api_handler(answer, token_authenticated=True))


def with_preload(command: Sequence[str], path: str) -> list[str]:
    """A scheduler's command that loads a file too, before upstream's own module: the options of that follow it."""
    first = list(command).index("--preload")
    return [*command[:first], "--preload", path, *command[first:]]
