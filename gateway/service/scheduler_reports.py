"""Receive the reports that schedulers send (:mod:`gateway.as_user.preload`), on both gateways."""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from dask_gateway_server.routes import api_handler

from gateway.as_user import preload

CLIENTS = "/api/v1/clusters/{cluster_name}/clients"
"""Path of the report that a client is connected."""
START = "/api/v1/clusters/{cluster_name}/start"
"""Path of the report that the scheduler listens."""


def take_clients(app: web.Application, noted: Callable[[str], Awaitable[None]]) -> None:
    """Add the route for reports that a client is connected. A scheduler authenticates with its cluster's token.

    ``noted`` gets the cluster's name.
    """

    async def take(request: web.Request) -> None:
        await noted(request.match_info["cluster_name"])

    _add_route(app, CLIENTS, take)


def take_starts(app: web.Application, noted: Callable[[str, str | None], Awaitable[None]]) -> None:
    """Add the route for reports that a scheduler listens.

    ``noted`` gets the cluster's name and the scheduler's IP address. The address is None when it differs from the
    source address of the request: the network translates addresses, or the scheduler reports an address that is not
    its own.
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
    """Return the scheduler's command with one more ``--preload``, for the file at the path.

    It stands before upstream's own preload module, because the options of that module follow its name.
    """
    first = list(command).index("--preload")
    return [*command[:first], "--preload", path, *command[first:]]
