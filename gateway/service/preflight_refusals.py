"""Receive the refusals that the preflight of a scheduler's job posts (:mod:`gateway.as_user.refusals`)."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from dask_gateway_server.routes import api_handler

from gateway.as_user import refusals
from gateway.errors import Refusal, one_line

PATH = f"/api/v1/clusters/{{cluster_name}}/{refusals.PATH}"


def take(app: web.Application, noted: Callable[[str, str], Awaitable[None]]) -> None:
    """Add the route for refusals. A scheduler's job authenticates with its cluster's token.

    ``noted`` gets the cluster's name, and the text as one line of printable characters.
    """

    async def answer(request: web.Request) -> web.Response:
        await noted(request.match_info["cluster_name"], text_of(await request.json()))
        return web.Response()

    app.router.add_post(PATH, api_handler(answer, token_authenticated=True))


def text_of(content: object) -> str:
    """Return the text of a posted refusal, cleaned. Raises :class:`gateway.errors.Refusal` for any other content."""
    text = content.get(refusals.TEXT) if isinstance(content, dict) and len(content) == 1 else None
    if not isinstance(text, str) or not 0 < len(text) <= refusals.MOST_CHARACTERS:
        raise Refusal(
            f"A refusal is an object with {refusals.TEXT!r} alone: 1 to {refusals.MOST_CHARACTERS} characters."
        )
    return one_line(text)
