"""The connection to Kubernetes' API server."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import ClientError, ClientSession
from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.rest import ApiException

NOT_FOUND = 404
CONFLICT = 409
GONE = 410
READ_BUFFER_BYTES = 2**21
"""More than the largest event of a watch; kubernetes_asyncio's value."""
FAULTS = (ApiException, ClientError, TimeoutError)
"""What a question to Kubernetes may end with."""


@contextlib.contextmanager
def accepting(status: int) -> Iterator[None]:
    """Take an answer of that status for done: what was to be deleted is gone, what was to be made is there."""
    try:
        yield
    except ApiException as error:
        if error.status != status:
            raise


async def open_client() -> client.ApiClient:
    """A client with the pod's service account, or with the kubeconfig's current context outside of a pod."""
    try:
        config.load_incluster_config()
    except config.ConfigException:
        await config.load_kube_config()
    api_client = client.ApiClient()
    _leave_environment_alone(api_client)
    return api_client


def _leave_environment_alone(api_client: client.ApiClient) -> None:
    """Not look for ~/.netrc and a proxy's variables in two threads at each request (not reported upstream).

    A kubeconfig names its credentials and its proxy itself.
    """
    session = api_client.rest_client.pool_manager
    api_client.rest_client.pool_manager = ClientSession(connector=session.connector, read_bufsize=READ_BUFFER_BYTES)
    session.detach()


def reason_in(error: ApiException) -> str | None:
    """Kubernetes' word for an error, for example ``AlreadyExists``."""
    reason: str | None = _status_of(error).get("reason")
    return reason


def message_of(error: Exception) -> str:
    """What Kubernetes says of an error, or what has kept it from answering, in a line for a log."""
    if not isinstance(error, ApiException):
        return repr(error)
    return str(_status_of(error).get("message", f"{error.status} {error.reason}"))


def _status_of(error: ApiException) -> Mapping[str, Any]:
    """The object with which Kubernetes answers an error; empty when something else has answered."""
    try:
        status = json.loads(error.body or "")
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}
