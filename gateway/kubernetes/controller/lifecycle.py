"""The life of a cluster, read from its DaskCluster and its scheduler pod. Pure.

Times are in seconds; callers pass the present moment.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from dask_gateway_server.backends.kubernetes.controller import get_container_state
from kubernetes_asyncio import client

from gateway.kubernetes import dask_clusters
from gateway.kubernetes.controller.ledger import ENDED_POD_PHASES
from gateway.kubernetes.names import SCHEDULER_COMPONENT
from gateway.service import scheduler_addresses, termination
from gateway.service.termination import Termination
from gateway.site import Timeouts


def has_ended(scheduler: Mapping[str, Any]) -> bool:
    """Return whether a scheduler pod, or its container, has ended."""
    state = get_container_state(scheduler, SCHEDULER_COMPONENT)
    return state == "terminated" or scheduler["status"].get("phase") in ENDED_POD_PHASES


def listens(cluster: Mapping[str, Any], scheduler: Mapping[str, Any]) -> bool:
    """Return whether a scheduler listens, by its own start report or by the kubelet's readiness."""
    return dask_clusters.STARTED in cluster["spec"] or is_ready(scheduler)


def address_of(scheduler: Mapping[str, Any]) -> str | None:
    """Return the IP address of a scheduler pod, once the kubelet has reported it. Raises :class:`Refusal`.

    The scheduler's own word about it does not count: proxies would connect to any address that a user names.
    """
    address: str | None = scheduler["status"].get("podIP")
    return None if address is None else scheduler_addresses.checked_host(address)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Return whether the kubelet reports a pod as ready."""
    conditions = {item["type"]: item["status"] for item in pod["status"].get("conditions") or ()}
    return conditions.get("Ready") == "True"


def available_seconds(deployment: client.V1Deployment, now: datetime) -> float:
    """Return for how long a Deployment has had all its replicas without interruption; 0 while it lacks one."""
    # Kubernetes calls a Deployment without replicas available, too.
    conditions = deployment.status.conditions if deployment.status.available_replicas else None
    for condition in conditions or ():
        if (condition.type, condition.status) == ("Available", "True"):
            return float((now - condition.last_transition_time).total_seconds())
    return 0


def age_seconds(cluster: Mapping[str, Any], now: datetime) -> float:
    """Return how long ago the API server created a cluster."""
    return _seconds_since(cluster["metadata"]["creationTimestamp"], now)


def seconds_since_client(cluster: Mapping[str, Any], now: datetime) -> float:
    """Return how long ago a scheduler reported a connected client; the cluster's age if it never did."""
    reported = cluster["spec"].get(dask_clusters.LAST_CLIENT)
    age = age_seconds(cluster, now)
    return age if reported is None else min(age, _seconds_since(reported, now))


def _seconds_since(timestamp: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(timestamp)).total_seconds()


@dataclass(frozen=True)
class Elapsed:
    """How much of its timeouts a cluster has used."""

    age_seconds: float
    alone_seconds: float
    """Time without a client; 0 for a pending cluster, which can't have clients yet."""
    is_pending: bool

    @classmethod
    def of(cls, cluster: Mapping[str, Any], now: datetime) -> Self:
        """Return the times of a DaskCluster."""
        is_pending = dask_clusters.phase_of(cluster) == dask_clusters.PENDING
        alone = 0 if is_pending else seconds_since_client(cluster, now)
        return cls(age_seconds(cluster, now), alone, is_pending)

    def start_left_seconds(self, timeouts: Timeouts) -> float:
        """Return the time until the start timeout: infinite once the cluster has started, 0 or less when expired."""
        return timeouts.start_seconds - self.age_seconds if self.is_pending else math.inf

    def left_seconds(self, timeouts: Timeouts) -> float:
        """Return the time until the next of the timeouts expires."""
        return min(
            self.start_left_seconds(timeouts),
            timeouts.lifetime_seconds - self.age_seconds,
            timeouts.client_gone_seconds - self.alone_seconds,
        )

    def termination(self, timeouts: Timeouts) -> Termination | None:
        """Return the termination by lifetime or client-gone timeout, if one of these has expired."""
        return termination.due(
            self.age_seconds, timeouts.lifetime_seconds, self.alone_seconds, timeouts.client_gone_seconds
        )
