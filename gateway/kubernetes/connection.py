"""The connection to Kubernetes' API server."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import ClientError, ClientSession
from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.rest import ApiException

FORBIDDEN = 403
NOT_FOUND = 404
CONFLICT = 409
GONE = 410
UNAVAILABLE = 503
READ_BUFFER_BYTES = 2**21
"""More than the largest event of a watch; kubernetes_asyncio's value."""
FAULTS = (ApiException, ClientError, TimeoutError)
"""Errors that a Kubernetes API call can raise."""


@contextlib.contextmanager
def accepting(status: int) -> Iterator[None]:
    """Treat an answer of that status as success.

    404 (:data:`NOT_FOUND`) to a deletion: the object is gone. 409 (:data:`CONFLICT`) to a creation: the object exists.
    """
    try:
        yield
    except ApiException as error:
        if error.status != status:
            raise


async def open_client() -> client.ApiClient:
    """Return a client with the pod's service account, or, outside of a pod, with the kubeconfig's current context."""
    try:
        config.load_incluster_config()
    except config.ConfigException:
        await config.load_kube_config()
    api_client = client.ApiClient()
    _ignore_environment(api_client)
    return api_client


def _ignore_environment(api_client: client.ApiClient) -> None:
    """Replace the session by one that ignores ~/.netrc and a proxy's variables.

    kubernetes_asyncio's session looks for both in two threads at each request (not reported upstream). A kubeconfig
    names its credentials and its proxy itself.
    """
    session = api_client.rest_client.pool_manager
    api_client.rest_client.pool_manager = ClientSession(connector=session.connector, read_bufsize=READ_BUFFER_BYTES)
    session.detach()


def reason_in(error: ApiException) -> str | None:
    """Return the reason of an error as Kubernetes names it, for example ``AlreadyExists``."""
    reason: str | None = _status_of(error).get("reason")
    return reason


def message_of(error: Exception) -> str:
    """Return one line for a log: the message of Kubernetes' Status, or the error when Kubernetes did not answer."""
    if not isinstance(error, ApiException):
        return repr(error)
    return str(_status_of(error).get("message", f"{error.status} {error.reason}"))


def _status_of(error: ApiException) -> Mapping[str, Any]:
    """Return the Status object in an error's body; an empty one if something other than Kubernetes answered."""
    try:
        status = json.loads(error.body or "")
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}
