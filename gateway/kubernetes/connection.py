"""The connection to Kubernetes' API server."""

import contextlib
from collections.abc import Iterator

from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.rest import ApiException

NOT_FOUND = 404
CONFLICT = 409


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
    return client.ApiClient()
