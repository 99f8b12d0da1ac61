"""The list of a user's clusters, with each cluster serialized once instead of at each request."""

import json
from weakref import WeakKeyDictionary

from aiohttp import web
from dask_gateway_server import routes
from dask_gateway_server.models import Cluster, ClusterStatus

from gateway.service.middleware import Handler

_texts: WeakKeyDictionary[Cluster, str] = WeakKeyDictionary()
"""Cluster -> its JSON in a list. Upstream's back end creates a new object for a cluster that has changed."""


@web.middleware
async def serialized_once(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer in place of upstream's route for the list, with the same text.

    Upstream's route serializes all clusters at each request, which costs more than the rest of it (not reported).
    """
    is_list = request.match_info.handler is routes.list_clusters
    return await (_list_clusters if is_list else handler)(request)


@routes.api_handler(user_authenticated=True)  # type: ignore[untyped-decorator] # upstream has no types
async def _list_clusters(request: web.Request) -> web.Response:
    statuses = _statuses(request.query.get("status"))
    clusters = await request.app["backend"].list_clusters(username=request["user"].name, statuses=statuses)
    return web.Response(text=f"{{{', '.join(map(_text, clusters))}}}", content_type="application/json")


def _statuses(wanted: str | None) -> list[ClusterStatus] | None:
    """Return the statuses of a request's query. Raises ``HTTPUnprocessableEntity`` for an unknown one."""
    if wanted is None:
        return None
    try:
        return [ClusterStatus.from_name(name) for name in wanted.split(",")]
    except ValueError as error:
        raise web.HTTPUnprocessableEntity(reason=str(error)) from error


def _text(cluster: Cluster) -> str:
    text = _texts.get(cluster)
    if text is None:
        text = _texts[cluster] = json.dumps({cluster.name: cluster.to_dict()})[1:-1]
    return text
