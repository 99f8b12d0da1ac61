"""What a user's clusters hold, as their objects tell it to the API server. Pure.

The controller, which sees the pods, decides; the API server only says early what will come of a request.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.request.quota import Resources, fitting, sum_of
from gateway.site import KubernetesGateway, UserTotal

OVER = ("Stopped", "Failed")
"""Phases of clusters that are over."""


def total_of(gateway: KubernetesGateway, user_class: str | None) -> UserTotal:
    """What users of a class may hold."""
    return gateway.user_total_by_class.get(user_class or "", gateway.user_total)


def held(clusters: Iterable[Mapping[str, Any]], username: str) -> dict[str, Resources]:
    """Cluster (``NAMESPACE.NAME``) -> what it holds, of the user's clusters that are not over and not told to end."""
    return {
        f"{cluster['metadata']['namespace']}.{cluster['metadata']['name']}": amount_of(cluster)
        for cluster in clusters
        if cluster["spec"]["username"] == username
        and cluster["spec"].get("active", True)
        and cluster.get("status", {}).get("phase") not in OVER
    }


def amount_of(cluster: Mapping[str, Any]) -> Resources:
    """What a cluster holds: its scheduler, and as many workers as the controller has granted."""
    config = cluster["spec"]["config"]
    return Resources.of_role(config, "scheduler") + Resources.of_role(config, "worker") * workers_of(cluster)


def workers_of(cluster: Mapping[str, Any]) -> int:
    """How many workers the controller has granted."""
    return int(cluster.get("status", {}).get("workers", 0))


def grant(cluster: Mapping[str, Any], wanted: int, all_held: Mapping[str, Resources], total: Resources) -> int:
    """How many of the wanted workers the cluster may have, those that it has included."""
    worker, present = Resources.of_role(cluster["spec"]["config"], "worker"), workers_of(cluster)
    more = fitting(total - sum_of(all_held.values()), worker, max(0, wanted - present))
    return min(wanted, present + more)
