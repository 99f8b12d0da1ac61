"""Measure and guard HTTP requests, note their source, and answer malformed ones with a clear 4xx, not upstream's 500.

Middlewares of this module come in the order of :func:`all_of`.
"""

import time
from collections.abc import Awaitable, Callable

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.typedefs import Middleware

from gateway.errors import Refusal
from gateway.identity import source
from gateway.identity.guard import Bounds, CredentialRefused, Guard, TooManyAttempts
from gateway.identity.source import Proxies
from gateway.service import audit, plain_http
from gateway.service.metrics import REQUESTS
from gateway.site import Gateway

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
CLUSTER_TOKENS = Bounds(attempts=20, attempt_seconds=1, refused_seconds=1)
"""Bounds on requests with a cluster's token. A scheduler whose cluster the gateway does not know yet retries soon."""


def all_of(proxies: Proxies, gateway: Gateway) -> list[Middleware]:
    """Return the middlewares of a gateway behind these proxies, the outermost first."""
    guards = [plain_http.refusing(gateway), audited, _guarding(Guard(CLUSTER_TOKENS))]
    return [_noting_source(proxies), measure, *guards, explain]


def _noting_source(proxies: Proxies) -> Middleware:
    @web.middleware
    async def note_source(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note the request's source address for what follows."""
        request[source.SOURCE] = source.of_request(request, proxies)
        return await handler(request)

    return note_source


def _guarding(guard: Guard) -> Middleware:
    @web.middleware
    async def guard_cluster_tokens(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Bound the requests with a cluster's token that is not valid: each may cost a request to Kubernetes."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        cluster = request.match_info.get("cluster_name")
        if kind != "token" or cluster is None:
            return await handler(request)
        refusals: list[web.StreamResponse] = []

        async def check() -> web.StreamResponse:
            response = await handler(request)
            if response.status == web.HTTPUnauthorized.status_code:
                refusals.append(response)
                raise CredentialRefused
            return response

        try:
            return await guard.checked(request[source.SOURCE], f"{cluster} {token}", check)
        except CredentialRefused:
            return refusals[0] if refusals else _refused(401, "The cluster's token is not valid.")
        except TooManyAttempts:
            return _refused(429, "Too many requests with a wrong token came from your address: try again in a minute.")

    return guard_cluster_tokens


@web.middleware
async def audited(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Write the audit line of a request that asks to change a cluster."""
    action = audit.action_of(request)
    if action is None:
        return await handler(request)
    cluster, status = request.match_info.get("cluster_name", ""), 500
    try:
        response = await handler(request)
        cluster, status = cluster or audit.created_cluster(response), response.status
        return response
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        audit.record(request, action, status, cluster)


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
