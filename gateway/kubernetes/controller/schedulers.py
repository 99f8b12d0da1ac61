"""Schedulers: start them with their credentials and routes, and delete them when their cluster ends."""

import asyncio
from collections.abc import Mapping
from typing import Any

from dask_gateway_server.backends.kubernetes.utils import k8s_timestamp

from gateway.errors import Refusal
from gateway.kubernetes import dask_clusters, names
from gateway.kubernetes.controller import reasons
from gateway.kubernetes.controller.ledger import Ledger
from gateway.kubernetes.controller.lifecycle import has_ended, listens
from gateway.kubernetes.controller.manifests import ManifestController
from gateway.kubernetes.controller.network_policies import NetworkPolicies
from gateway.kubernetes.controller.requests import Requests
from gateway.kubernetes.controller.routes import ENDPOINT_SLICE, Routes
from gateway.kubernetes.controller.start_errors import RoomSoonError, StartError
from gateway.kubernetes.controller.user_totals import UserTotals
from gateway.kubernetes.controller.waiting import WaitingClusters
from gateway.kubernetes.names import SCHEDULER_COMPONENT
from gateway.service.termination import Termination

Status = dict[str, Any]
"""The status of a DaskCluster, which notes the names of the objects that the controller has created."""


class Schedulers:
    """Start and end the schedulers of clusters, through upstream's controller, which creates and deletes objects."""

    def __init__(
        self,
        controller: ManifestController,
        requests: Requests,
        totals: UserTotals,
        ledger: Ledger,
        waiting: WaitingClusters,
    ) -> None:
        self._requests = requests
        self._controller, self._totals, self._ledger, self._waiting = controller, totals, ledger, waiting
        self._routes, self._policies = Routes(controller), NetworkPolicies(controller)

    def pod_of(self, cluster: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return a cluster's scheduler pod, if the informer has seen it."""
        pod: Mapping[str, Any] | None = self._controller.informers["pod"].get(_pod_key(cluster))
        return pod

    async def start(self, cluster: Mapping[str, Any]) -> Status:
        """Do the next step of a pending cluster; return its status, with the reason when the start fails.

        Upstream creates Service and routes once Kubernetes reports the scheduler pod as ready: the kubelet polls the
        readiness probe, then upstream creates the objects, then proxies learn them. Here all objects exist before the
        scheduler listens, and the scheduler reports its start itself.
        """
        status = {"phase": dask_clusters.PENDING, **cluster.get("status", {})}
        try:
            scheduler = await self._ensure_pod(cluster, status)
        except RoomSoonError:
            self._waiting.put(cluster, 0)
            return status
        except StartError as error:
            return await self.end(cluster, Termination(error.failure, str(error)))
        except Refusal as refusal:
            return await self.end(cluster, reasons.of_refusal(refusal))
        if scheduler is None:
            # The informer's event of this pod requeues the cluster.
            return status
        if has_ended(scheduler):
            return await self.end(cluster, reasons.of_end(scheduler, ran=False))
        await self._routes.ensure(cluster, scheduler, status)
        if listens(cluster, scheduler) and ENDPOINT_SLICE in status:
            status["phase"] = dask_clusters.RUNNING
        return status

    async def _ensure_pod(self, cluster: Mapping[str, Any], status: Status) -> Mapping[str, Any] | None:
        """Create the scheduler pod and its credentials unless the status names them; return the pod if it is known."""
        if "schedulerPod" in status:
            return self.pod_of(cluster)
        # Before the cluster's first pod: what a pod connects to while its policy is missing is refused.
        await self._policies.ensure(cluster, status)
        pod: Mapping[str, Any] | None
        # Concurrently: the kubelet waits for the Secret that the pod mounts, and starting the pod takes longer.
        credentials = asyncio.ensure_future(self._controller.create_secret_if_not_exists(cluster))
        try:
            status["schedulerPod"], pod = await self._create_pod(cluster)
        finally:
            status["credentials"] = await credentials
        return pod

    async def _create_pod(self, cluster: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
        """Create the scheduler pod within the user's total; return its name, and the pod if it is known.

        Raises :class:`NoRoomError`, :class:`RoomSoonError`, :class:`SystemAccountError` or :class:`Refusal`.
        """
        configured = await self._requests.with_config(cluster)
        entry = self._totals.entry_to_create(cluster, SCHEDULER_COMPONENT)
        if self._ledger.has_scheduler(entry.cluster):
            return names.scheduler_pod_name(cluster["metadata"]["name"]), self.pod_of(cluster)
        self._totals.check_scheduler(cluster)
        # Reserve before the first await, so that concurrent reconciles see it.
        token = self._ledger.reserve(entry)
        name: str
        try:
            name, pod = await self._controller.create_scheduler_pod_if_not_exists(configured)
            self._ledger.created(token, _pod_key(cluster))
        finally:
            self._ledger.not_created(token)
        return name, pod

    async def end(self, cluster: Mapping[str, Any], end: Termination) -> Status:
        """Delete a cluster's EndpointSlice, scheduler pod, credentials and NetworkPolicy; return its last status.

        Kubernetes deletes the objects that the pod owns: workers, Service and routes.
        """
        metadata, phase = cluster["metadata"], dask_clusters.FAILED if end.failed else dask_clusters.STOPPED
        name, namespace = metadata["name"], metadata["namespace"]
        self._controller.log.info(
            "Cluster %s.%s of %s: %s: %s", namespace, name, dask_clusters.user_of(cluster), phase, end.reason
        )
        # By the names that upstream gives, because the status may lack some.
        objects = {
            "schedulerPod": names.scheduler_pod_name(name),
            "credentials": self._controller.make_secret_name(name),
        }
        # First, so that no new connection goes to a dying pod.
        await self._routes.close(name)
        await self._controller.cleanup_cluster_resources(objects, namespace)
        await self._policies.delete(name)
        return {
            **cluster.get("status", {}),
            "phase": phase,
            "completionTime": k8s_timestamp(),
            "cause": end.cause,
            "reason": end.reason,
        }


def _pod_key(cluster: Mapping[str, Any]) -> str:
    metadata = cluster["metadata"]
    return f"{metadata['namespace']}.{names.scheduler_pod_name(metadata['name'])}"
