"""The controller process: its traits, its start and shutdown, and the dispatch of informers' events to its parts."""

import asyncio
import signal
import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from aiohttp import web
from dask_gateway_server.backends.kubernetes.utils import RateLimitedClient
from dask_gateway_server.utils import AccessLogger, RateLimiter, TaskPool
from dask_gateway_server.workqueue import Backoff, WorkQueue
from kubernetes_asyncio import client
from traitlets import Instance

from gateway.errors import Refusal
from gateway.identity import directory
from gateway.identity.directory import Directory
from gateway.kubernetes import cluster_spec, connection, names
from gateway.kubernetes.connection import NOT_FOUND
from gateway.kubernetes.controller import reasons
from gateway.kubernetes.controller.client import StrictClient
from gateway.kubernetes.controller.deadlines import Deadlines, utc_now
from gateway.kubernetes.controller.lease import Lease
from gateway.kubernetes.controller.ledger import ENDED_STATES, Ledger, entry_of
from gateway.kubernetes.controller.lifecycle import has_ended
from gateway.kubernetes.controller.manifests import ManifestController
from gateway.kubernetes.controller.network_policies import NetworkPolicies
from gateway.kubernetes.controller.requests import Requests
from gateway.kubernetes.controller.schedulers import Schedulers
from gateway.kubernetes.controller.user_totals import UserTotals
from gateway.kubernetes.controller.waiting import WaitingClusters
from gateway.kubernetes.controller.workers import Workers
from gateway.kubernetes.dask_clusters import ENDED_PHASES, PENDING, key_of, phase_of
from gateway.kubernetes.informers import PatientInformer, cluster_informer
from gateway.service import metrics
from gateway.service.supervision import supervised
from gateway.site import Backend, KubernetesGateway, Site

FORGET_SECONDS = 120
"""How often the controller compares the ledger with the informer of pods.

It is longer than any delay of that informer. The longest is that on a connection whose other end has vanished, 90 s."""
SHUTDOWN_SECONDS = 15.0
"""How long open requests may take to end when the controller stops."""

Reconciled = tuple[dict[str, Any] | None, bool]
"""What upstream's reconcilers expect: the new status, None for no change, and whether to requeue the cluster."""


class FacilityKubeController(ManifestController):
    """Upstream's controller for one namespace, so that Roles there suffice, with timeouts and user totals."""

    site = Instance(Site, help="The site of this gateway.", config=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.ledger = Ledger()
        self.waiting = WaitingClusters()
        self._ended: set[str] = set()
        """Clusters whose last status is stored."""

    @property
    def gateway(self) -> KubernetesGateway:
        """Return the site's section of this gateway."""
        return self.site.kubernetes

    async def setup(self) -> None:
        """Connect to Kubernetes, start the informers of clusters and pods, then the reconcilers.

        Upstream's own method can't be reused: it starts cluster-wide informers (dask/dask-gateway#661).
        """
        self._handle_signals()
        await self._connect()
        # Acquire the lease before listing, so that the previous holder's writes are visible.
        await self.lease.acquire()
        self.stopped_clusters: dict[str, int] = {}
        self.queue = WorkQueue(backoff=Backoff(base_delay=self.backoff_base_delay, max_delay=self.backoff_max_delay))
        self.informers = self.make_informers()
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.assemble(directory.of_identity(self.site.identity), working_seconds=lambda: loop.time() - began)
        await asyncio.gather(*(informer.start() for informer in self.informers.values()))
        self.log.debug("All informers started")
        self.reconcilers = [asyncio.ensure_future(self.reconciler_loop()) for _ in range(self.parallelism)]
        self.task_pool = TaskPool()
        self.task_pool.spawn(supervised("expired clusters", self.cleanup_expired_cluster_records_loop, self.log))
        self.task_pool.spawn(supervised("unseen pods", self._forget_unseen_pods, self.log))
        self.task_pool.spawn(self.lease.keep_or_exit())
        await self._serve()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_shutdown_signal, number)

    async def _connect(self) -> None:
        self.rate_limiter = RateLimiter(rate=self.k8s_api_rate_limit, burst=self.k8s_api_rate_limit_burst)
        self.api_client = await connection.open_client()
        self.core_client = self._limited(client.CoreV1Api)
        self.apps_client = self._limited(client.AppsV1Api)
        self.custom_client = self._limited(client.CustomObjectsApi)
        self.discovery_client = self._limited(client.DiscoveryV1Api)
        self.networking_client = self._limited(client.NetworkingV1Api)
        # Not rate-limited: a burst must not delay the renewal of the lease.
        coordination = client.CoordinationV1Api(api_client=self.api_client)
        name = names.controller_name(self.gateway.release)
        # A pod's host name is its own, and a restarted container has it again.
        self.lease = Lease(coordination, name, self.gateway.namespace, socket.gethostname(), self.log)

    def _limited(self, api: Any) -> RateLimitedClient:
        return StrictClient(api(api_client=self.api_client), self.rate_limiter)

    def assemble(
        self, accounts: Directory, *, working_seconds: Callable[[], float], now: Callable[[], datetime] = utc_now
    ) -> None:
        """Build the parts that reconcile clusters; clients, queue and informers exist already.

        ``accounts`` is the site's directory. ``working_seconds`` tells for how long this controller has held the lease.
        """
        requests = Requests(self.site, accounts)
        totals = UserTotals(self.site, self.ledger, self.waiting, self.informers["cluster"])
        self.network_policies = NetworkPolicies(self)
        self.schedulers = Schedulers(self, requests, totals, self.ledger, self.waiting)
        self.workers = Workers(
            self.core_client,
            self.namespace,
            requests=requests,
            make_pod=self.make_pod,
            totals=totals,
            ledger=self.ledger,
            waiting=self.waiting,
            log=self.log,
        )
        self.deadlines = Deadlines(
            self.gateway,
            self.core_client,
            self.apps_client,
            serialized=self.api_client.sanitize_for_serialization,
            scheduler_of=self.schedulers.pod_of,
            requeue_after=self.queue.put_after,
            working_seconds=working_seconds,
            now=now,
        )

    async def cleanup(self) -> None:
        """Finish the reconciles in progress, then release the lease for the next controller."""
        if hasattr(self, "task_pool"):
            self.queue.close()
            await asyncio.gather(*self.reconcilers, return_exceptions=True)
            await self.task_pool.close()
            await self.lease.release()
        await super().cleanup()

    def make_informers(self) -> dict[str, PatientInformer]:
        """Return the informers, by the names under which upstream's methods look them up."""
        in_namespace = {"namespace": self.namespace, "label_selector": self.label_selector}
        return {
            "cluster": cluster_informer(self, on_update=self.on_cluster_update, on_delete=self.on_cluster_delete),
            "pod": PatientInformer(
                parent=self,
                name="pod",
                client=self.core_client,
                method="list_namespaced_pod",
                method_kwargs=in_namespace,
                on_update=self.on_pod_update,
                on_delete=self.on_pod_delete,
            ),
        }

    def on_pod_update(self, pod: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> None:
        """Note a pod in the ledger; requeue its cluster, and clusters that wait for its resources, when they change.

        Upstream's own method ignores workers that are not scheduled to a node yet.
        """
        entry, key = entry_of(pod), key_of(pod)
        if entry is None:
            return
        before = self.ledger.saw(key, entry)
        if entry.is_worker:
            if before is None or before.state is not entry.state:
                self._requeue(entry.cluster)
        else:
            super().on_pod_update(pod, old=old)
            if pod["status"].get("podIP") != (old or {}).get("status", {}).get("podIP"):
                # Its routes wait for the address.
                self._requeue(entry.cluster)
        if entry.state in ENDED_STATES and (before is None or before.state not in ENDED_STATES):
            self._requeue_waiting(entry.user)

    def on_pod_delete(self, pod: Mapping[str, Any]) -> None:
        """Drop a pod from the ledger; requeue its cluster, and clusters that wait for its resources."""
        entry = self.ledger.lost(key_of(pod)) or entry_of(pod)
        if entry is not None:
            self._requeue(entry.cluster)
            self._requeue_waiting(entry.user)

    def on_cluster_delete(self, cluster: Mapping[str, Any]) -> None:
        """Forget a cluster whose DaskCluster is gone."""
        super().on_cluster_delete(cluster)
        self._ended.discard(key_of(cluster))
        self.waiting.discard(cluster)

    def _requeue(self, cluster_key: str) -> None:
        if cluster_key not in self.stopped_clusters:
            self.queue.put(cluster_key)

    def _requeue_waiting(self, user: str) -> None:
        for cluster_key in self.waiting.of(user):
            self.queue.put(cluster_key)

    async def patch_cluster_status(self, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        """Store a status; a status of a cluster that has ended is its last, and the metrics count it."""
        await super().patch_cluster_status(namespace, name, status)
        if status["phase"] in ENDED_PHASES:
            self._ended.add(f"{namespace}.{name}")
            metrics.count(Backend.KUBERNETES, status["cause"])

    async def handle_cluster(self, cluster: Mapping[str, Any]) -> Reconciled:
        """Reconcile a cluster; when it ends, delete its variables too."""
        if key_of(cluster) in self._ended and phase_of(cluster) not in ENDED_PHASES:
            # The informer has not seen the last status yet. Upstream would handle a cluster without a scheduler.
            return None, False
        status, requeue = await self._reconcile(cluster)
        if status is not None and status["phase"] in ENDED_PHASES:
            self.waiting.discard(cluster)
            await self._delete_variables(cluster)
        return status, requeue

    async def _reconcile(self, cluster: Mapping[str, Any]) -> Reconciled:
        phase = phase_of(cluster)
        if phase in ENDED_PHASES:
            handled: Reconciled = await super().handle_cluster(cluster)
            return handled
        try:
            cluster_spec.check(cluster)
        except Refusal as refusal:
            return await self.schedulers.end(cluster, reasons.of_refusal(refusal)), False
        end = await self.deadlines.termination_of(cluster)
        if end is not None:
            return await self.schedulers.end(cluster, end), False
        if phase == PENDING:
            return await self.schedulers.start(cluster), False
        return await self._reconcile_running(cluster)

    async def _reconcile_running(self, cluster: Mapping[str, Any]) -> Reconciled:
        scheduler = self.schedulers.pod_of(cluster)
        if scheduler is None:
            return await self.schedulers.end(cluster, reasons.DELETED), False
        if has_ended(scheduler):
            return await self.schedulers.end(cluster, reasons.of_end(scheduler, ran=True)), False
        status = {**cluster["status"]}
        # A cluster of an older version of the gateway has none.
        await self.network_policies.ensure(cluster, status)
        requeue = await self.workers.reconcile(cluster, scheduler)
        status["workers"] = self.workers.count(cluster)
        return status, requeue

    async def _delete_variables(self, cluster: Mapping[str, Any]) -> None:
        secret = names.variables_name(cluster["metadata"]["name"])
        with connection.accepting(NOT_FOUND):
            await self.core_client.delete_namespaced_secret(secret, self.namespace)

    async def _forget_unseen_pods(self) -> None:
        while True:
            await asyncio.sleep(FORGET_SECONDS)
            self.ledger.forget_unseen(self.informers["pod"].cache)

    async def _serve(self) -> None:
        self.runner = web.AppRunner(
            self.app,
            handle_signals=False,
            access_log_class=AccessLogger,
            access_log=self.log,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        await self.runner.setup()
        host, port = self.address.split(":")
        await web.TCPSite(self.runner, host, int(port), backlog=128).start()
        self.log.info("%s listens at %s", self.name, self.address)
