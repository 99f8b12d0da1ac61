"""Informers: what Kubernetes has of a kind in a namespace, followed."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import ClientResponse
from dask_gateway_server.backends.kubernetes.backend import KubeBackendAndControllerMixin
from dask_gateway_server.backends.kubernetes.utils import Informer
from dask_gateway_server.workqueue import Backoff
from kubernetes_asyncio.client.rest import ApiException
from traitlets import Integer

from gateway.kubernetes.connection import FAULTS, GONE, message_of

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0
"""An API server that is back is noticed within that time."""
ANSWER_SECONDS = 30
"""How long a list may take, and how late the end of a watch may be that Kubernetes was to end by itself."""
ENDS = (*FAULTS, OSError, json.JSONDecodeError)
"""What an API server that goes away leads to; the last one where a connection ends in the middle of a line."""


class PatientInformer(Informer):  # type: ignore[misc] # upstream has no types
    """Upstream's, for times when Kubernetes does not answer.

    Upstream's asks again at once while Kubernetes' API server is away, and logs a traceback each time: thousands in a
    second. It waits forever on a connection whose other end has vanished. It takes a watch that Kubernetes refuses for
    news. And it can't log an error that a watch tells: its message has a place more than values. None of it is reported
    upstream.
    """

    timeout_seconds = Integer(60, help="Kubernetes ends a watch after this; the next one goes on from there.")

    async def run(self) -> None:
        """List, then watch, forever."""
        pauses = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while True:
            try:
                version = await self._list()
                pauses.reset(self.name)
                await self._follow(version)
            except Exception as error:  # noqa: BLE001 - whatever it is, without news the gateway would be blind
                await self._pause(error, pauses.backoff(self.name))

    async def _pause(self, error: Exception, seconds: float) -> None:
        message = "Kubernetes tells nothing of the objects %s; asking again in %g s: %s"
        self.log.warning(message, self.name, seconds, message_of(error), exc_info=not isinstance(error, ENDS))
        await asyncio.sleep(seconds)

    @contextlib.asynccontextmanager
    async def _asked(self, seconds: float, **options: Any) -> AsyncIterator[ClientResponse]:
        """What Kubernetes answers within a time, not read yet. Raises ``ApiException`` for a refusal, and others."""
        method = getattr(self.client, self.method)
        async with await method(
            **self.method_kwargs, **options, _preload_content=False, _request_timeout=seconds
        ) as answer:
            if not answer.ok:
                error = ApiException(status=answer.status, reason=answer.reason)
                error.body = await answer.text()
                raise error
            yield answer

    async def _list(self) -> str:
        """Take over all that there is; returns its version, from which a watch goes on."""
        async with self._asked(ANSWER_SECONDS) as answer:
            found = await answer.json()
        self.handle_initial(found["items"])
        self.initialized.set()
        return str(found["metadata"]["resourceVersion"])

    async def _follow(self, version: str) -> None:
        """Take over what changes, until Kubernetes does not know any more what came after the last change."""
        try:
            while True:
                version = await self._watch(version)
        except ApiException as error:
            if error.status != GONE:
                raise

    async def _watch(self, version: str) -> str:
        """Take over what changes for a while; returns the last version seen. Raises ``ApiException`` and others."""
        options = {
            "watch": True,
            "resource_version": version,
            # They bring versions when nothing changes, so that Kubernetes still knows ours after a quiet time.
            "allow_watch_bookmarks": True,
            "timeout_seconds": self.timeout_seconds,
        }
        async with self._asked(self.timeout_seconds + ANSWER_SECONDS, **options) as answer:
            async for line in answer.content:
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
    """Follows the DaskClusters of its owner's namespace; upstream's follow all namespaces (dask/dask-gateway#661)."""
    selection: dict[str, Any] = {
        "group": "gateway.dask.org",
        "version": owner.crd_version,
        "namespace": owner.namespace,
        "plural": "daskclusters",
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
