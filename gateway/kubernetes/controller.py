"""The controller: upstream's, but it watches only its own namespace and EndpointSlices instead of Endpoints."""

import asyncio
import collections
import signal
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from dask_gateway_server.backends.kubernetes.controller import ClusterInfo, KubeController, get_container_status
from dask_gateway_server.backends.kubernetes.utils import Informer, RateLimitedClient, k8s_timestamp
from dask_gateway_server.utils import AccessLogger, RateLimiter, TaskPool
from dask_gateway_server.workqueue import Backoff, WorkQueue
from kubernetes_asyncio import client
from kubernetes_asyncio.client.rest import ApiException
from traitlets import Integer, Unicode

from gateway import preflight
from gateway.kubernetes import connection, names
from gateway.kubernetes.config import with_variables
from gateway.kubernetes.informers import cluster_informer

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""Kubernetes puts it on each EndpointSlice; the slice's own name is made up."""
NOT_FOUND = 404
ENDED = ("Stopped", "Failed")
"""Phases of clusters that are over."""
CLOSING_SECONDS = 15.0
"""How long open requests may take to end when the controller stops."""


class EndpointSliceInformer(Informer):  # type: ignore[misc] # upstream has no types
    """Follows EndpointSlices under the name of their Service, as upstream looks Endpoints up."""

    def get_key(self, obj: Mapping[str, Any]) -> str:
        """``NAMESPACE.SERVICE``."""
        metadata = obj["metadata"]
        return f"{metadata['namespace']}.{metadata['labels'][SERVICE_NAME_LABEL]}"


class SystemAccountError(Exception):
    """A pod would run as an account of the system: the API server must never have asked for that."""


class FacilityKubeController(KubeController):  # type: ignore[misc] # upstream has no types
    """Upstream's controller with namespaced informers, so that Roles in the namespace are all that it needs."""

    namespace = Unicode(help="The namespace of all clusters.", config=True)
    minimum_uid = Integer(help="The least uid that pods may run as.", config=True)
    minimum_gid = Integer(help="The least gid that pods may have.", config=True)

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

    def make_pod(self, namespace: str, cluster_name: str, config: Any, is_worker: bool = False) -> dict[str, Any]:
        """Upstream's pod with its user's variables. Raises :class:`SystemAccountError`."""
        pod = with_variables(super().make_pod(namespace, cluster_name, config, is_worker=is_worker), cluster_name)
        self._check_account(pod["spec"]["securityContext"])
        return pod

    def _check_account(self, context: Mapping[str, Any]) -> None:
        gids = (context["runAsGroup"], *context["supplementalGroups"])
        if context["runAsUser"] < max(self.minimum_uid, 1) or min(gids) < max(self.minimum_gid, 1):
            raise SystemAccountError(f"A pod may not have the uid {context['runAsUser']} and the gids {gids}")

    async def handle_cluster(self, cluster: Mapping[str, Any]) -> tuple[dict[str, Any] | None, bool]:
        """Upstream's next step for a cluster; when that ends it, its variables go too."""
        status, requeue = await super().handle_cluster(cluster)
        if status is not None and status["phase"] in ENDED:
            await self._delete_variables(cluster)
        return status, requeue

    async def handle_pending_cluster(self, cluster: Mapping[str, Any]) -> tuple[dict[str, Any] | None, bool]:
        """Upstream's next step for a cluster that starts, with the reason when that fails."""
        if "variables" not in cluster["spec"]:
            # The API server is about to store the user's variables, and to note it here.
            return None, False
        scheduler = self._scheduler_pod(cluster)
        try:
            status, requeue = await super().handle_pending_cluster(cluster)
        except SystemAccountError as error:
            name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
            self.log.error("Cluster %s: %s", name, error)
            await self.cleanup_cluster_resources({"credentials": self.make_secret_name(name)}, namespace)
            return {**cluster.get("status", {}), **_failed("The cluster's account is not one of a user.")}, False
        if status["phase"] == "Failed" and scheduler is not None:
            status["reason"] = reason_of(scheduler)
        return status, requeue

    def _scheduler_pod(self, cluster: Mapping[str, Any]) -> Mapping[str, Any] | None:
        name = cluster.get("status", {}).get("schedulerPod")
        pod: Mapping[str, Any] | None = self.informers["pod"].get(f"{cluster['metadata']['namespace']}.{name}")
        return pod

    async def _delete_variables(self, cluster: Mapping[str, Any]) -> None:
        metadata = cluster["metadata"]
        try:
            await self.core_client.delete_namespaced_secret(names.variables_name(metadata["name"]), self.namespace)
        except ApiException as error:
            if error.status != NOT_FOUND:
                raise

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


def _failed(reason: str) -> dict[str, str]:
    return {"phase": "Failed", "completionTime": k8s_timestamp(), "reason": reason}


def reason_of(scheduler: Mapping[str, Any]) -> str:
    """Why a scheduler's pod has ended before its cluster ran, for the cluster's user."""
    state = (get_container_status(scheduler, names.SCHEDULER_COMPONENT) or {}).get("state", {})
    ended = state.get("terminated", {})
    if ended.get("exitCode") == preflight.REFUSED and ended.get("message"):
        # One line: it travels as an HTTP reason.
        return " ".join(str(ended["message"]).split())
    why = ended.get("reason", "Unknown")
    return f"The scheduler ended before it was ready ({why}, exit code {ended.get('exitCode', 'unknown')})."
