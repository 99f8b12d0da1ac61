"""The controller: upstream's, but it watches only its own namespace and EndpointSlices instead of Endpoints."""

import asyncio
import collections
import signal
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from dask_gateway_server.backends.kubernetes.controller import ClusterInfo, KubeController
from dask_gateway_server.backends.kubernetes.utils import Informer, RateLimitedClient
from dask_gateway_server.utils import AccessLogger, RateLimiter, TaskPool
from dask_gateway_server.workqueue import Backoff, WorkQueue
from kubernetes_asyncio import client
from traitlets import Unicode

from gateway.kubernetes import connection, names
from gateway.kubernetes.informers import cluster_informer

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""Kubernetes puts it on each EndpointSlice; the slice's own name is made up."""
CLOSING_SECONDS = 15.0
"""How long open requests may take to end when the controller stops."""


class EndpointSliceInformer(Informer):  # type: ignore[misc] # upstream has no types
    """Follows EndpointSlices under the name of their Service, as upstream looks Endpoints up."""

    def get_key(self, obj: Mapping[str, Any]) -> str:
        """``NAMESPACE.SERVICE``."""
        metadata = obj["metadata"]
        return f"{metadata['namespace']}.{metadata['labels'][SERVICE_NAME_LABEL]}"


class FacilityKubeController(KubeController):  # type: ignore[misc] # upstream has no types
    """Upstream's controller with namespaced informers, so that Roles in the namespace are all that it needs."""

    namespace = Unicode(help="The namespace of all clusters.", config=True)

    async def setup(self) -> None:
        """Connect to Kubernetes, start to follow clusters, pods and endpoints, then to reconcile.

        Upstream's own method can't be reused: it starts cluster-wide informers (dask/dask-gateway#661).
        """
        self._handle_signals()
        await self._connect()
        self.cluster_info: collections.defaultdict[str, ClusterInfo] = collections.defaultdict(ClusterInfo)
        self.stopped_clusters: dict[str, int] = {}
        self.queue = WorkQueue(backoff=Backoff(base_delay=self.backoff_base_delay, max_delay=self.backoff_max_delay))
        self.informers = self._make_informers()
        await asyncio.gather(*(informer.start() for informer in self.informers.values()))
        self.log.debug("All informers started")
        self.reconcilers = [asyncio.ensure_future(self.reconciler_loop()) for _ in range(self.parallelism)]
        self.task_pool = TaskPool()
        self.task_pool.spawn(self.cleanup_expired_cluster_records_loop())
        await self._serve()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_shutdown_signal, number)

    async def _connect(self) -> None:
        self.rate_limiter = RateLimiter(rate=self.k8s_api_rate_limit, burst=self.k8s_api_rate_limit_burst)
        self.api_client = await connection.open_client()
        self.core_client = self._limited(client.CoreV1Api)
        self.custom_client = self._limited(client.CustomObjectsApi)
        self.discovery_client = self._limited(client.DiscoveryV1Api)

    def _limited(self, api: Any) -> RateLimitedClient:
        return RateLimitedClient(api(api_client=self.api_client), self.rate_limiter)

    def _make_informers(self) -> dict[str, Informer]:
        """By the names under which upstream's methods look them up."""
        in_namespace = {"namespace": self.namespace, "label_selector": self.label_selector}
        return {
            "cluster": cluster_informer(self, on_update=self.on_cluster_update, on_delete=self.on_cluster_delete),
            "pod": Informer(
                parent=self,
                name="pod",
                client=self.core_client,
                method="list_namespaced_pod",
                method_kwargs=in_namespace,
                on_update=self.on_pod_update,
                on_delete=self.on_pod_delete,
            ),
            "endpoints": EndpointSliceInformer(
                parent=self,
                name="endpoints",
                client=self.discovery_client,
                method="list_namespaced_endpoint_slice",
                method_kwargs={
                    **in_namespace,
                    "label_selector": f"{self.label_selector},{names.COMPONENT_LABEL}={names.SCHEDULER_COMPONENT}",
                },
                on_update=self.on_endpoints_update,
                on_delete=self.on_endpoints_delete,
            ),
        }

    def endpoints_all_ready(self, endpoints: Mapping[str, Any]) -> bool:
        """Whether an EndpointSlice has endpoints, all of them ready (unknown counts as ready, as Kubernetes has it)."""
        found = endpoints.get("endpoints") or ()
        return bool(found) and all(endpoint.get("conditions", {}).get("ready") is not False for endpoint in found)

    async def _serve(self) -> None:
        self.runner = web.AppRunner(
            self.app,
            handle_signals=False,
            access_log_class=AccessLogger,
            access_log=self.log,
            shutdown_timeout=CLOSING_SECONDS,
        )
        await self.runner.setup()
        host, port = self.address.split(":")
        await web.TCPSite(self.runner, host, int(port), backlog=128).start()
        self.log.info("%s listens at %s", self.name, self.address)
