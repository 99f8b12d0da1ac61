"""The controller: upstream's in its own namespace only, with bounds of time and of what a user may hold."""

import asyncio
import functools
import math
import os
import secrets
import signal
import socket
from base64 import b64encode
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from dask_gateway_server.backends.kubernetes.controller import KubeController, get_container_state
from dask_gateway_server.backends.kubernetes.utils import (
    RateLimitedClient,
    k8s_timestamp,
    parse_k8s_timestamp,
)
from dask_gateway_server.utils import AccessLogger, FrozenAttrDict, RateLimiter, TaskPool, timestamp
from dask_gateway_server.workqueue import Backoff, WorkQueue
from kubernetes_asyncio import client
from kubernetes_asyncio.client.rest import ApiException
from traitlets import Instance, Integer, Unicode

from gateway.kubernetes import connection, names
from gateway.kubernetes.api import estimate
from gateway.kubernetes.api.estimate import OVER
from gateway.kubernetes.configuration import PRELOAD, with_variables
from gateway.kubernetes.connection import CONFLICT, FAULTS, NOT_FOUND, message_of, reason_in
from gateway.kubernetes.controller import endpoint_slices, reasons
from gateway.kubernetes.controller.lease import Lease
from gateway.kubernetes.controller.ledger import ENDED, Entry, Ledger, State, entry_of
from gateway.kubernetes.controller.ledger import OVER as POD_OVER
from gateway.kubernetes.informers import PatientInformer, cluster_informer
from gateway.kubernetes.names import LAST_CLIENT, SCHEDULER_COMPONENT, WORKER_COMPONENT
from gateway.request import quota
from gateway.service import metrics, termination
from gateway.service.scheduler_reports import with_preload
from gateway.service.termination import EndCause, StartFailure, Termination
from gateway.site import Backend, KubernetesGateway
from gateway.tls import new_keypair

UNAVAILABLE = 503
PRESENT = (State.CREATING, State.WAITING, State.RUNNING)
"""States of the workers that a cluster has or is about to have."""
FORGET_SECONDS = 120
"""How often the ledger is compared with what the informer of pods has seen; longer than any of its delays. The longest
is that on a connection whose other end has vanished, 90 s."""
MOST_AT_ONCE = 32
"""Workers that are created, or deleted, at once: some milliseconds each in one turn of the event loop, for which others
wait."""
CLOSING_SECONDS = 15.0
"""How long open requests may take to end when the controller stops."""
REPORTING_SECONDS = 30.0
"""So long after the API or we were away, all schedulers have said who is connected: they try once a second, and give up
a try after 20 s (tornado's bound)."""


class StartError(Exception):
    """A cluster can't start; the text is for its user."""

    failure = StartFailure.OTHER


class SystemAccountError(StartError):
    """A pod would run as an account of the system: the API server must never have asked for that."""


class NoRoomError(StartError):
    """The user's total leaves no room for a scheduler."""

    failure = StartFailure.TOTAL


class RoomSoonError(Exception):
    """There will be room for a scheduler when pods of the user that are being deleted have ended."""


class StrictClient(RateLimitedClient):  # type: ignore[misc] # upstream has no types
    """Upstream's client, for which a conflict means that the object exists and nothing else.

    Upstream takes every answer 409 to a creation for "exists already". A ResourceQuota that changes meanwhile makes
    Kubernetes answer 409 as well, and the object is never created (not reported upstream).
    """

    def __getattr__(self, name: str) -> Any:
        """A method of the wrapped client."""
        method = super().__getattr__(name)

        @functools.wraps(method)
        async def call(*arguments: Any, **options: Any) -> Any:
            try:
                return await method(*arguments, **options)
            except ApiException as error:
                if error.status == CONFLICT and reason_in(error) != "AlreadyExists":
                    error.status = UNAVAILABLE
                raise

        return call


class FacilityKubeController(KubeController):  # type: ignore[misc] # upstream has no types
    """Upstream's controller with namespaced informers, so that Roles in the namespace are all that it needs."""

    namespace = Unicode(help="The namespace of all clusters.", config=True)
    minimum_uid = Integer(help="The least uid that pods may run as.", config=True)
    minimum_gid = Integer(help="The least gid that pods may have.", config=True)
    start_seconds = Integer(120, help="A cluster that has not started by then fails.", config=True)
    lifetime_seconds = Integer(86400, help="A cluster ends at this age.", config=True)
    client_gone_seconds = Integer(3600, help="A cluster without clients ends after this.", config=True)
    gateway = Instance(KubernetesGateway, help="What the site says of users' totals.", config=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.ledger = Ledger()
        self._waiting: defaultdict[str, dict[str, int]] = defaultdict(dict)
        """User -> cluster -> how many workers it would like to have more."""
        self._ended: set[str] = set()
        """Clusters of which we have stored that they are over."""
        self.working_since = math.inf
        """By the event loop's clock; before, there was perhaps no API server of Kubernetes either."""

    async def setup(self) -> None:
        """Connect to Kubernetes, start to follow clusters and pods, then to reconcile.

        Upstream's own method can't be reused: it starts cluster-wide informers (dask/dask-gateway#661).
        """
        self._handle_signals()
        await self._connect()
        # Before anything is listed: what the one before us was about to do is done then.
        await self.lease.acquire()
        self.working_since = asyncio.get_running_loop().time()
        self.stopped_clusters: dict[str, int] = {}
        self.queue = WorkQueue(backoff=Backoff(base_delay=self.backoff_base_delay, max_delay=self.backoff_max_delay))
        self.informers = self._make_informers()
        await asyncio.gather(*(informer.start() for informer in self.informers.values()))
        self.log.debug("All informers started")
        self.reconcilers = [asyncio.ensure_future(self.reconciler_loop()) for _ in range(self.parallelism)]
        self.task_pool = TaskPool()
        self.task_pool.spawn(self.cleanup_expired_cluster_records_loop())
        self.task_pool.spawn(self._forget_unseen_pods())
        self.task_pool.spawn(self._work_while_held())
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
        # Not limited: a burst must not cost the lease.
        coordination = client.CoordinationV1Api(api_client=self.api_client)
        name = names.controller_name(self.gateway.release)
        # A pod's name is its host's, and its container's restarts keep it.
        self.lease = Lease(coordination, name, self.namespace, socket.gethostname(), self.log)

    async def _work_while_held(self) -> None:
        await self.lease.keep()
        self.log.critical("The lease is lost, so another controller may have begun: this one ends at once")
        # An orderly end would finish what is begun, twice then.
        os._exit(1)

    async def cleanup(self) -> None:
        """Finish what is begun, and leave the rest to the next controller."""
        if hasattr(self, "task_pool"):
            self.queue.close()
            await asyncio.gather(*self.reconcilers, return_exceptions=True)
            await self.task_pool.close()
            await self.lease.release()
        await super().cleanup()

    def _limited(self, api: Any) -> RateLimitedClient:
        return StrictClient(api(api_client=self.api_client), self.rate_limiter)

    def _make_informers(self) -> dict[str, PatientInformer]:
        """By the names under which upstream's methods look them up."""
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

    def get_scheduler_command(self, namespace: str, cluster_name: str, config: Any) -> list[str]:
        """Upstream's, with our preload before upstream's own, whose options follow it."""
        return with_preload(super().get_scheduler_command(namespace, cluster_name, config), PRELOAD)

    def make_secret(self, cluster_name: str) -> dict[str, Any]:
        """The cluster's key pair and token, under the keys that upstream's pods and API server look for."""
        certificate, key = new_keypair(cluster_name)
        content = {"dask.crt": certificate, "dask.pem": key, "api-token": secrets.token_hex(16).encode()}
        labels = self.get_labels(cluster_name, "credentials")
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.make_secret_name(cluster_name), "labels": labels},
            "data": {name: b64encode(value).decode() for name, value in content.items()},
        }

    def make_pod(self, namespace: str, cluster_name: str, config: Any, is_worker: bool = False) -> dict[str, Any]:
        """Upstream's pod with its user's variables. Raises :class:`SystemAccountError`."""
        pod = with_variables(super().make_pod(namespace, cluster_name, config, is_worker=is_worker), cluster_name)
        self._check_account(pod["spec"]["securityContext"])
        return pod

    def _check_account(self, context: Mapping[str, Any]) -> None:
        gids = (context["runAsGroup"], *context["supplementalGroups"])
        if context["runAsUser"] < max(self.minimum_uid, 1) or min(gids) < max(self.minimum_gid, 1):
            self.log.error("A pod may not have the uid %s and the gids %s", context["runAsUser"], gids)
            raise SystemAccountError("The cluster's account is not one of a user.")

    def on_pod_update(self, pod: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> None:
        """Note what a pod holds; look at its cluster, and at who waits for what it held, when that changes.

        Upstream's own method ignores workers that no node has taken yet.
        """
        entry, key = entry_of(pod), _key_of(pod)
        if entry is None:
            return
        before = self.ledger.saw(key, entry)
        if entry.is_worker:
            if before is None or before.state is not entry.state:
                self._look_at(entry.cluster)
        else:
            super().on_pod_update(pod, old=old)
        if entry.state in ENDED and (before is None or before.state not in ENDED):
            self._room_for(entry.user)

    def on_pod_delete(self, pod: Mapping[str, Any]) -> None:
        """Note that a pod holds nothing any more."""
        entry = self.ledger.lost(_key_of(pod)) or entry_of(pod)
        if entry is not None:
            self._look_at(entry.cluster)
            self._room_for(entry.user)

    def on_cluster_delete(self, cluster: Mapping[str, Any]) -> None:
        """Forget a cluster whose record is gone."""
        super().on_cluster_delete(cluster)
        self._ended.discard(_key_of(cluster))
        self._stop_waiting(cluster)

    def _look_at(self, cluster_key: str) -> None:
        if cluster_key not in self.stopped_clusters:
            self.queue.put(cluster_key)

    def _room_for(self, user: str) -> None:
        """Look at the clusters of a user that wait for room."""
        for cluster_key in self._waiting.get(user, {}):
            self.queue.put(cluster_key)

    def _stop_waiting(self, cluster: Mapping[str, Any]) -> None:
        waiting = self._waiting.get(_user_of(cluster), {})
        waiting.pop(_key_of(cluster), None)

    async def patch_cluster_status(self, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        """Store a status; one that says that the cluster is over is the last, and counted."""
        await super().patch_cluster_status(namespace, name, status)
        if status["phase"] in OVER:
            self._ended.add(f"{namespace}.{name}")
            metrics.count(Backend.KUBERNETES, status["cause"])

    async def handle_cluster(self, cluster: Mapping[str, Any]) -> tuple[dict[str, Any] | None, bool]:
        """Upstream's next step for a cluster, within its bounds of time; when it ends, its variables go too."""
        if _key_of(cluster) in self._ended:
            # The informer has not seen yet what we have stored: upstream would take it for a cluster without scheduler.
            return None, False
        status, requeue = await self._step(cluster)
        if status is not None and status["phase"] in OVER:
            self._stop_waiting(cluster)
            await self._delete_variables(cluster)
        return status, requeue

    async def _step(self, cluster: Mapping[str, Any]) -> tuple[dict[str, Any] | None, bool]:
        phase = cluster.get("status", {}).get("phase", "Pending")
        if phase in OVER:
            handled: tuple[dict[str, Any] | None, bool] = await super().handle_cluster(cluster)
            return handled
        end = await self._end_of(cluster, phase)
        if end is not None:
            return await self._ended_status(cluster, end), False
        if phase == "Pending":
            return await self.handle_pending_cluster(cluster)
        return await self.handle_running_cluster(cluster)

    async def _end_of(self, cluster: Mapping[str, Any], phase: str) -> Termination | None:
        """How a cluster ends that has to end now; for others, see that they are looked at in time."""
        if not cluster["spec"].get("active", True):
            return reasons.STOPPED
        is_pending, age = phase == "Pending", age_seconds(cluster)
        # What starts has no clients yet, and what runs has started.
        alone = 0 if is_pending else seconds_since_client(cluster)
        start_left = self.start_seconds - age if is_pending else math.inf
        end = termination.due(age, self.lifetime_seconds, alone, self.client_gone_seconds)
        if end is not None and end.cause is EndCause.CLIENT_GONE:
            unsure_seconds = REPORTING_SECONDS - await self._reports_taken_seconds()
            if unsure_seconds > 0:
                self.queue.put_after(_key_of(cluster), unsure_seconds)
                return None
        if end is not None:
            return end
        if start_left <= 0:
            return await self._end_by_delay(cluster)
        left = min(start_left, self.lifetime_seconds - age, self.client_gone_seconds - alone)
        self.queue.put_after(_key_of(cluster), left)
        return None

    async def _reports_taken_seconds(self) -> float:
        """For how long schedulers have certainly been able to tell who is connected; 0 or less if they are not."""
        selector = names.selector(names.component_labels(self.gateway.release, names.API_COMPONENT))
        found = await self.core_client.list_namespaced_pod(self.namespace, label_selector=selector)
        working = asyncio.get_running_loop().time() - self.working_since
        return min(working, max(map(ready_seconds, found.items), default=0))

    async def _ended_status(self, cluster: Mapping[str, Any], end: Termination) -> dict[str, Any]:
        """End a cluster; returns its last status."""
        metadata, phase = cluster["metadata"], "Failed" if end.failed else "Stopped"
        name, namespace = metadata["name"], metadata["namespace"]
        self.log.info("Cluster %s.%s of %s: %s: %s", namespace, name, cluster["spec"]["username"], phase, end.reason)
        # By the names that they must have, whatever the status has noted.
        pieces = {"schedulerPod": _scheduler_name(name), "credentials": self.make_secret_name(name)}
        # First: whoever came by it would be led to a pod that is gone, and wait for nothing.
        await self._delete_endpoint_slice(name)
        await self.cleanup_cluster_resources(pieces, namespace)
        return {
            **cluster.get("status", {}),
            "phase": phase,
            "completionTime": k8s_timestamp(),
            "cause": end.cause,
            "reason": end.reason,
        }

    async def _end_by_delay(self, cluster: Mapping[str, Any]) -> Termination:
        scheduler = self._scheduler_pod(cluster)
        events: list[dict[str, Any]] = []
        if scheduler is not None:
            selector = f"involvedObject.uid={scheduler['metadata']['uid']}"
            found = await self.core_client.list_namespaced_event(self.namespace, field_selector=selector)
            events = self.api_client.sanitize_for_serialization(found)["items"]
            events.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        return reasons.of_delay(scheduler, events, self.start_seconds)

    async def handle_pending_cluster(self, cluster: Mapping[str, Any]) -> tuple[dict[str, Any] | None, bool]:
        """The next step of a cluster that starts, with the reason when that fails.

        Upstream leads to a scheduler only when Kubernetes calls it ready: the kubelet asks it from time to time, then
        Service and routes are made, then proxies learn them. Here all that is ready before the scheduler, which tells
        itself when it listens.
        """
        status = {"phase": "Pending", **cluster.get("status", {})}
        try:
            scheduler = await self._scheduler_of_pending(cluster, status)
        except RoomSoonError:
            self._waiting[_user_of(cluster)][_key_of(cluster)] = 0
            return status, False
        except StartError as error:
            return await self._ended_status(cluster, Termination(error.failure, str(error))), False
        if scheduler is None:
            # The informer will tell of it.
            return status, False
        if has_ended(scheduler):
            return await self._ended_status(cluster, reasons.of_end(scheduler, ran=False)), False
        await self._ensure_routes(cluster, scheduler, status)
        if listens(cluster, scheduler) and "endpointSlice" in status:
            status["phase"] = "Running"
        return status, False

    async def _scheduler_of_pending(
        self, cluster: Mapping[str, Any], status: dict[str, Any]
    ) -> Mapping[str, Any] | None:
        """The scheduler's pod, made with its credentials if it never was, as far as it is known yet.

        The status notes the names.
        """
        if "schedulerPod" in status:
            return self._scheduler_pod(cluster)
        pod: Mapping[str, Any] | None
        # At the same time: the pod waits for what it mounts, and that takes it longer than this.
        credentials = asyncio.ensure_future(self.create_secret_if_not_exists(cluster))
        try:
            status["schedulerPod"], pod = await self.create_scheduler_pod_if_not_exists(cluster)
        finally:
            status["credentials"] = await credentials
        return pod

    async def _ensure_routes(
        self, cluster: Mapping[str, Any], scheduler: Mapping[str, Any], status: dict[str, Any]
    ) -> None:
        """Have the Service and the routes of a scheduler, whose names the status notes."""
        makers = {
            # First, because proxies complain about routes to what is not there.
            "service": self.create_service_if_not_exists,
            "ingressroute": self.create_ingressroute_if_not_exists,
            "ingressroutetcp": self.create_ingressroutetcp_if_not_exists,
        }
        for kind, make in makers.items():
            if kind not in status:
                status[kind] = await make(cluster, scheduler)
        address = address_of(cluster, scheduler)
        if address is not None and "endpointSlice" not in status:
            status["endpointSlice"] = await self._create_endpoint_slice(cluster, scheduler, address)

    def make_service(self, cluster_name: str) -> dict[str, Any]:
        """Upstream's, without a selector: the controller says where it leads (:mod:`.endpoints`).

        A scheduler that is busy with a large graph keeps its routes then, however long it takes.
        """
        service: dict[str, Any] = super().make_service(cluster_name)
        spec = {key: value for key, value in service["spec"].items() if key != "selector"}
        return {**service, "spec": spec}

    async def _create_endpoint_slice(
        self, cluster: Mapping[str, Any], scheduler: Mapping[str, Any], address: str
    ) -> str:
        name = cluster["metadata"]["name"]
        labels = self.get_labels(name, SCHEDULER_COMPONENT)
        made = endpoint_slices.endpoint_slice(self.make_service_name(name), labels, address, scheduler)
        with connection.accepting(CONFLICT):
            await self.discovery_client.create_namespaced_endpoint_slice(self.namespace, made)
        return str(made["metadata"]["name"])

    async def _delete_endpoint_slice(self, name: str) -> None:
        with connection.accepting(NOT_FOUND):
            await self.discovery_client.delete_namespaced_endpoint_slice(self.make_service_name(name), self.namespace)

    async def create_scheduler_pod_if_not_exists(self, cluster: Mapping[str, Any]) -> tuple[str, Any]:
        """Upstream's, within the user's total. Raises :class:`NoRoomError` or :class:`RoomSoonError`."""
        entry = self._entry_of_a(SCHEDULER_COMPONENT, cluster)
        total, held = self._total(cluster), self.ledger.held(entry.user)
        pod_key = f"{cluster['metadata']['namespace']}.{_scheduler_name(cluster['metadata']['name'])}"
        if self.ledger.has_scheduler(entry.cluster):
            return _scheduler_name(cluster["metadata"]["name"]), self.informers["pod"].get(pod_key)
        room = total - quota.sum_of(held.values())
        if not room.covers(entry.amount):
            if (room + self.ledger.becoming_free(entry.user)).covers(entry.amount):
                raise RoomSoonError
            raise NoRoomError(quota.refusal(entry.amount, held, total))
        token = self.ledger.reserve(entry)
        try:
            name, pod = await super().create_scheduler_pod_if_not_exists(cluster)
            self.ledger.created(token, pod_key)
        finally:
            self.ledger.not_created(token)
        return name, pod

    async def handle_running_cluster(self, cluster: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """See that the scheduler lives, and that the cluster has the workers that it wants and may have.

        Upstream's own method counts wrongly while workers are unscheduled, and deletes the wrong ones
        (dask/dask-gateway#252); it knows no bound over a user's clusters (#313).
        """
        scheduler = self._scheduler_pod(cluster)
        if scheduler is None:
            return await self._ended_status(cluster, reasons.DELETED), False
        if has_ended(scheduler):
            return await self._ended_status(cluster, reasons.of_end(scheduler, ran=True)), False
        status = {**cluster["status"]}
        requeue = await self._reconcile_workers(cluster, scheduler)
        status["workers"] = len(self.ledger.workers(_key_of(cluster), *PRESENT))
        return status, requeue

    async def _reconcile_workers(self, cluster: Mapping[str, Any], scheduler: Mapping[str, Any]) -> bool:
        """Create and delete workers; returns whether that has to be tried again."""
        key = _key_of(cluster)
        missing = cluster["spec"].get("replicas", 0) - len(self.ledger.workers(key, *PRESENT))
        grant = self._grant(cluster, missing) if missing > 0 else 0
        # Running workers are the scheduler's to close: it moves their data away first.
        waiting = self.ledger.workers(key, State.WAITING) if missing < 0 else []
        superfluous = [*waiting[missing:], *self.ledger.workers(key, State.OVER)]
        if grant or superfluous:
            self.log.info("Cluster %s: creating %d workers, deleting %d", key, grant, len(superfluous))
        if missing <= grant:
            self._stop_waiting(cluster)
        else:
            self._waiting[_user_of(cluster)][key] = missing - grant
        pod = self._worker_pod(cluster, scheduler) if grant else {}
        # Reserved before anything is waited for: whoever counts next counts these.
        entry = self._entry_of_a(WORKER_COMPONENT, cluster)
        tokens = [self.ledger.reserve(entry) for _ in range(grant)]
        created = await self._create_workers(pod, tokens)
        deleted = await self._delete_workers(superfluous)
        return not (created and deleted)

    def _grant(self, cluster: Mapping[str, Any], missing: int) -> int:
        """How many of the missing workers the cluster may have now, beside what its user's other clusters wait for."""
        key, user = _key_of(cluster), _user_of(cluster)
        total, held = self._total(cluster), self.ledger.held(user)
        wanted = {**self._waiting.get(user, {}), key: missing}
        known = {name: self.informers["cluster"].get(name) for name in wanted} | {key: cluster}
        claims = [
            quota.Claim(
                name, held.get(name, quota.Resources()), self._entry_of_a(WORKER_COMPONENT, other).amount, count
            )
            for name, count in sorted(wanted.items())
            if (other := known[name]) is not None
        ]
        return quota.granted(total - quota.sum_of(held.values()), total, claims)[key]

    def _total(self, cluster: Mapping[str, Any]) -> quota.Resources:
        user_class = cluster["spec"]["config"]["worker_extra_pod_labels"].get(names.USER_CLASS_LABEL)
        return quota.Resources.of_total(estimate.total_of(self.gateway, user_class))

    def _entry_of_a(self, component: str, cluster: Mapping[str, Any]) -> Entry:
        """What a scheduler or worker of a cluster counts for before there is one."""
        role = component.removeprefix("dask-")
        return Entry(
            user=_user_of(cluster),
            cluster=_key_of(cluster),
            is_worker=component == WORKER_COMPONENT,
            amount=quota.Resources.of_role(cluster["spec"]["config"], role),
            state=State.CREATING,
        )

    def _worker_pod(self, cluster: Mapping[str, Any], scheduler: Mapping[str, Any]) -> dict[str, Any]:
        metadata = cluster["metadata"]
        config = FrozenAttrDict(cluster["spec"]["config"])
        pod = self.make_pod(metadata["namespace"], metadata["name"], config, is_worker=True)
        pod["metadata"]["ownerReferences"] = [endpoint_slices.owner(scheduler)]
        return pod

    async def _create_workers(self, pod: Mapping[str, Any], tokens: Sequence[str]) -> bool:
        """Create a worker for each token; returns whether that went well.

        In batches that double, as upstream does it: what Kubernetes refuses it refuses once, not a hundred times. They
        are bounded: half of 400 workers in one turn of the loop were seen to take seconds of it.
        """
        try:
            done, size = 0, 1
            while done < len(tokens):
                batch = tokens[done : done + size]
                if not all(await asyncio.gather(*(self._create_worker(pod, token) for token in batch))):
                    return False
                done, size = done + size, min(2 * size, MOST_AT_ONCE)
            return True
        finally:
            for token in tokens:
                self.ledger.not_created(token)

    async def _create_worker(self, pod: Mapping[str, Any], token: str) -> bool:
        try:
            made = await self.core_client.create_namespaced_pod(self.namespace, pod)
        except FAULTS as error:
            self.log.warning("A worker was not created: %s", message_of(error))
            return False
        self.ledger.created(token, f"{self.namespace}.{made.metadata.name}")
        return True

    async def _delete_workers(self, pod_keys: Sequence[str]) -> bool:
        """Delete workers, a bounded number at once; returns whether all are on their way or gone."""
        went_well = True
        for start in range(0, len(pod_keys), MOST_AT_ONCE):
            batch = pod_keys[start : start + MOST_AT_ONCE]
            went_well &= all(await asyncio.gather(*map(self._delete_worker, batch)))
        return went_well

    async def _delete_worker(self, pod_key: str) -> bool:
        """Delete a worker; returns whether it is on its way or gone."""
        self.ledger.leaving(pod_key)
        namespace, _, name = pod_key.partition(".")
        try:
            # Upstream asks the error for its code, which it does not have (not reported).
            with connection.accepting(NOT_FOUND):
                await self.core_client.delete_namespaced_pod(name, namespace)
        except FAULTS as error:
            self.ledger.not_leaving(pod_key)
            self.log.warning("The worker %s was not deleted: %s", name, message_of(error))
            return False
        return True

    async def _forget_unseen_pods(self) -> None:
        while True:
            await asyncio.sleep(FORGET_SECONDS)
            self.ledger.forget_unseen(self.informers["pod"].cache)

    def _scheduler_pod(self, cluster: Mapping[str, Any]) -> Mapping[str, Any] | None:
        metadata = cluster["metadata"]
        key = f"{metadata['namespace']}.{_scheduler_name(metadata['name'])}"
        pod: Mapping[str, Any] | None = self.informers["pod"].get(key)
        return pod

    async def _delete_variables(self, cluster: Mapping[str, Any]) -> None:
        metadata = cluster["metadata"]
        with connection.accepting(NOT_FOUND):
            await self.core_client.delete_namespaced_secret(names.variables_name(metadata["name"]), self.namespace)

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


def _key_of(item: Mapping[str, Any]) -> str:
    return f"{item['metadata']['namespace']}.{item['metadata']['name']}"


def _user_of(cluster: Mapping[str, Any]) -> str:
    return names.label_value(cluster["spec"]["username"])


def _scheduler_name(cluster_name: str) -> str:
    return f"{SCHEDULER_COMPONENT}-{cluster_name}"


def has_ended(scheduler: Mapping[str, Any]) -> bool:
    """Whether a scheduler's pod, or its container, is over."""
    state = get_container_state(scheduler, SCHEDULER_COMPONENT)
    return state == "terminated" or scheduler["status"].get("phase") in POD_OVER


def listens(cluster: Mapping[str, Any], scheduler: Mapping[str, Any]) -> bool:
    """Whether a scheduler listens, by its own word or the kubelet's."""
    return names.STARTED in cluster["spec"] or is_ready(scheduler)


def address_of(cluster: Mapping[str, Any], scheduler: Mapping[str, Any]) -> str | None:
    """The IP address of a scheduler's pod: the kubelet tells it up to a second later than the scheduler itself."""
    address: str | None = cluster["spec"].get(names.ADDRESS) or scheduler["status"].get("podIP")
    return address


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the kubelet calls a pod ready."""
    conditions = {item["type"]: item["status"] for item in pod["status"].get("conditions") or ()}
    return conditions.get("Ready") == "True"


def ready_seconds(pod: client.V1Pod) -> float:
    """For how long the kubelet has called a pod ready without interruption; 0 if it does not."""
    for condition in pod.status.conditions or ():
        if (condition.type, condition.status) == ("Ready", "True"):
            return float((datetime.now(UTC) - condition.last_transition_time).total_seconds())
    return 0


def age_seconds(cluster: Mapping[str, Any]) -> float:
    """How long ago a cluster was asked for."""
    return float(timestamp() - parse_k8s_timestamp(cluster["metadata"]["creationTimestamp"])) / 1000


def seconds_since_client(cluster: Mapping[str, Any]) -> float:
    """How long ago a cluster's scheduler said that a client is connected, or the cluster was asked for."""
    said = cluster["spec"].get(LAST_CLIENT)
    age = age_seconds(cluster)
    return age if said is None else min(age, float(timestamp() - parse_k8s_timestamp(said)) / 1000)
