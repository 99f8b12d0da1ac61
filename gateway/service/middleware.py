"""Measure HTTP requests, and answer malformed ones with a clear 4xx instead of upstream's 500."""

import time
from collections.abc import Awaitable, Callable

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import BadHttpMessage

from gateway.errors import Refusal
from gateway.service.metrics import REQUESTS

NOT_JSON = (
    ValueError,  # not JSON, or not text
    RecursionError,  # nested too deep
    LookupError,  # an unknown charset
    ClientPayloadError,
    BadHttpMessage,  # not compressed as its Content-Encoding says
    web.HTTPBadRequest,
)
"""Errors that aiohttp raises when it reads a body as JSON."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Observe the request's duration under the pattern of its route, because a path names a cluster."""
    resource = request.match_info.route.resource
    # Requests without a route share one series: a client can make up any number of methods and paths.
    method, route = (request.method, resource.canonical) if resource is not None else ("any", "none")
    started, status = time.perf_counter(), 500
    try:
        response = await handler(request)
        status = response.status
        return response
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        REQUESTS.labels(method, route, f"{status // 100}xx").observe(time.perf_counter() - started)


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 401, or 422 with the reason, where dask-gateway-server 2026.3.0 answers 500 or 413 (not reported).

    The answer has the form from which the stock client takes the message of its exception.
    """
    authorization = request.headers.get("Authorization")
    if authorization is not None and " " not in authorization:
        return _refused(401, "The Authorization header has no credentials: send a JupyterHub token.")
    try:
        # All POST requests have a body: upstream reads it, and answers 500 where it is empty.
        has_body = request.can_read_body or request.method == "POST"
        if has_body and not isinstance(await request.json(), dict):
            return _refused(422, "The request must be a JSON object.")
    except NOT_JSON:
        return _refused(422, "The request is not JSON: send a JSON object.")
    except web.HTTPRequestEntityTooLarge:
        return _refused(422, "The request is too large: leave out of env what workers don't need.")
    try:
        return await handler(request)
    except Refusal as refusal:
        return _refused(422, str(refusal))


def _refused(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)
