"""What happens to each request beside upstream's routes: it is measured, and explained where they would fail at it."""

import time
from collections.abc import Awaitable, Callable

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import BadHttpMessage

from gateway.errors import Refusal
from gateway.service.metrics import REQUESTS

NO_JSON = (
    ValueError,  # no JSON, or no text
    RecursionError,  # nested too deep
    LookupError,  # a charset that nobody knows
    ClientPayloadError,
    BadHttpMessage,  # compressed otherwise than it says
    web.HTTPBadRequest,
)
"""What reading a body as JSON raises."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Observe how long the answer takes: by the route's pattern, since paths name clusters."""
    resource = request.match_info.route.resource
    # What fits no route has any method that somebody makes up.
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

    In the form that the stock client raises as a message.
    """
    authorization = request.headers.get("Authorization")
    if authorization is not None and " " not in authorization:
        return _refused(401, "The Authorization header has no credentials.")
    try:
        if request.can_read_body and not isinstance(await request.json(), dict):
            return _refused(422, "The request must be a JSON object.")
    except NO_JSON:
        return _refused(422, "The request is no JSON.")
    except web.HTTPRequestEntityTooLarge:
        return _refused(422, "The request is too large: leave out of env what workers don't need.")
    try:
        return await handler(request)
    except Refusal as refusal:
        raise web.HTTPUnprocessableEntity(reason=str(refusal)) from refusal


def _refused(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)
