"""Informers: caches of the objects of one kind in a namespace, kept current by list and watch."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import traitlets
from aiohttp import ClientResponse
from dask_gateway_server.backends.kubernetes.backend import KubeBackendAndControllerMixin
from dask_gateway_server.backends.kubernetes.utils import Informer
from dask_gateway_server.workqueue import Backoff
from kubernetes_asyncio.client.rest import ApiException

from gateway.kubernetes import dask_clusters
from gateway.kubernetes.connection import FAULTS, GONE, message_of

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
"""Bounds how long the informer takes to notice that the API server is back."""
ANSWER_SECONDS = 30
"""Timeout of a list, and how much later than requested Kubernetes may end a watch."""
EXPECTED_ERRORS = (*FAULTS, OSError, json.JSONDecodeError)
"""Errors while the API server goes away; a connection that ends in the middle of a line raises the last one."""


class PatientInformer(Informer):  # type: ignore[misc] # upstream has no types
    """Upstream's informer, for times when Kubernetes does not answer.

    While Kubernetes' API server is away, upstream's informer retries without a pause and logs a traceback each time:
    thousands a second. It waits without a timeout on a connection whose other end has vanished. It handles a watch that
    Kubernetes refuses as an event. And it can't log an error event of a watch: its message has one placeholder more
    than values. None of these faults is reported upstream.
    """

    timeout_seconds = traitlets.Integer(60, help="Kubernetes ends a watch after this; the next watch continues there.")
    sleep = traitlets.Callable(asyncio.sleep, help="Waits for the given seconds between retries.")

    async def run(self) -> None:
        """List, then watch, forever."""
        pauses = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while True:
            try:
                version = await self._list()
                pauses.reset(self.name)
                await self._follow(version)
            except Exception as error:  # noqa: BLE001 - without events the gateway is blind, so retry after any error
                await self._pause(error, pauses.backoff(self.name))

    async def _pause(self, error: Exception, seconds: float) -> None:
        message = "The list or watch of objects %r failed; retrying in %g s: %s"
        is_expected = isinstance(error, EXPECTED_ERRORS)
        self.log.warning(message, self.name, seconds, message_of(error), exc_info=not is_expected)
        await self.sleep(seconds)

    @contextlib.asynccontextmanager
    async def _response(self, seconds: float, **options: Any) -> AsyncIterator[ClientResponse]:
        """Request the list or watch, with a timeout; yield the response, not read yet.

        Raises ``ApiException`` when Kubernetes refuses the request, and the other :data:`FAULTS`.
        """
        method = getattr(self.client, self.method)
        async with await method(
            **self.method_kwargs, **options, _preload_content=False, _request_timeout=seconds
        ) as response:
            if not response.ok:
                error = ApiException(status=response.status, reason=response.reason)
                error.body = await response.text()
                raise error
            yield response

    async def _list(self) -> str:
        """Replace the cache by a list of all objects; return the list's version, from which a watch continues."""
        async with self._response(ANSWER_SECONDS) as response:
            found = await response.json()
        self.handle_initial(found["items"])
        self.initialized.set()
        return str(found["metadata"]["resourceVersion"])

    async def _follow(self, version: str) -> None:
        """Watch until Kubernetes has forgotten the changes after the last version that this informer has seen."""
        try:
            while True:
                version = await self._watch(version)
        except ApiException as error:
            if error.status != GONE:
                raise

    async def _watch(self, version: str) -> str:
        """Handle the events of one watch; return the last version seen. Raises ``ApiException`` and others."""
        options = {
            "watch": True,
            "resource_version": version,
            # Bookmarks bring versions while nothing changes: after a quiet time Kubernetes still knows the last one.
            "allow_watch_bookmarks": True,
            "timeout_seconds": self.timeout_seconds,
        }
        async with self._response(self.timeout_seconds + ANSWER_SECONDS, **options) as response:
            async for line in response.content:
                event = json.loads(line)
                found = event["object"]
                if event["type"] == "ERROR":
                    raise ApiException(status=found.get("code"), reason=found.get("message"))
                version = found["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self.handle(found, event["type"])
        return version


def cluster_informer(
    owner: KubeBackendAndControllerMixin, on_update: Callable[..., None], on_delete: Callable[..., None]
) -> PatientInformer:
    """Return an informer of the DaskClusters in its owner's namespace.

    Upstream's informers watch all namespaces (dask/dask-gateway#661).
    """
    selection: dict[str, Any] = {
        "group": dask_clusters.GROUP,
        "version": owner.crd_version,
        "namespace": owner.namespace,
        "plural": dask_clusters.PLURAL,
        "label_selector": owner.label_selector,
    }
    return PatientInformer(
        parent=owner,
        name="cluster",
        client=owner.custom_client,
        method="list_namespaced_custom_object",
        method_kwargs=selection,
        on_update=on_update,
        on_delete=on_delete,
    )
