"""Estimate what a user's clusters hold, by the DaskClusters that the API server sees. Pure.

The controller, which sees the pods, decides. The API server only tells the user early how a request will end.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.kubernetes.cluster_spec import worker_resources
from gateway.kubernetes.dask_clusters import ENDED_PHASES, is_active, key_of
from gateway.request.quota import Resources, fitting, sum_of


def held(clusters: Iterable[Mapping[str, Any]], username: str, scheduler: Resources) -> dict[str, Resources]:
    """Return what a user's clusters hold: key of the cluster (``NAMESPACE.NAME``) -> its resources.

    Clusters that have ended, or that were told to stop, hold nothing. ``scheduler`` is what each scheduler takes.
    """
    return {
        key_of(cluster): resources_of(cluster, scheduler)
        for cluster in clusters
        if cluster["spec"]["username"] == username
        and is_active(cluster)
        and cluster.get("status", {}).get("phase") not in ENDED_PHASES
    }


def resources_of(cluster: Mapping[str, Any], scheduler: Resources) -> Resources:
    """Return the resources of a cluster's scheduler and of the workers that the controller has granted."""
    return scheduler + worker_resources(cluster) * workers_of(cluster)


def workers_of(cluster: Mapping[str, Any]) -> int:
    """Return the number of workers that the controller has granted."""
    return int(cluster.get("status", {}).get("workers", 0))


def grant(cluster: Mapping[str, Any], wanted: int, all_held: Mapping[str, Resources], total: Resources) -> int:
    """Return how many of the requested workers a cluster may have, including those that it has."""
    worker, present = worker_resources(cluster), workers_of(cluster)
    more = fitting(total - sum_of(all_held.values()), worker, max(0, wanted - present))
    return min(wanted, present + more)
