"""What the clusters of a user hold on SLURM, and how many workers the site's bounds grant. Pure."""

from collections.abc import Mapping, Sequence

from dask_gateway_server.backends.db_base import Cluster, JobStatus

from gateway.request import quota
from gateway.request.quota import Claim, Resources


def held(clusters: Sequence[Cluster]) -> dict[str, Resources]:
    """Return what each cluster holds, by its name: pending and ending workers count too."""
    return {cluster.name: _held(cluster) for cluster in clusters}


def _held(cluster: Cluster) -> Resources:
    count = len([worker for worker in cluster.workers.values() if worker.status < JobStatus.STOPPED])
    return Resources.of_role(cluster.config, "scheduler") + Resources.of_role(cluster.config, "worker") * count


def missing(cluster: Cluster) -> int:
    """Return how many more workers a cluster has requested than it has."""
    if cluster.target != JobStatus.RUNNING or cluster.status != JobStatus.RUNNING:
        return 0
    return int(max(0, cluster.count - len(cluster.active_workers())))


def grant(total: Resources, clusters: Sequence[Cluster], cluster: Cluster) -> int:
    """Return how many of its missing workers a cluster gets now; the grants are fair between the user's clusters.

    ``clusters`` are all clusters of the user, ``total`` is what the site allows to the user.
    """
    if missing(cluster) == 0:
        return 0
    amounts = held(clusters)
    claims = [
        Claim(other.name, amounts[other.name], Resources.of_role(other.config, "worker"), missing(other))
        for other in clusters
    ]
    return quota.granted(total - quota.sum_of(amounts.values()), total, claims).get(cluster.name, 0)


def reachable(cluster: Cluster, wanted: int, all_held: Mapping[str, Resources], total: Resources) -> int:
    """Return how many of the requested workers the total has room for, the cluster's present workers included."""
    others = quota.sum_of(all_held.values()) - all_held[cluster.name]
    scheduler, worker = (Resources.of_role(cluster.config, role) for role in ("scheduler", "worker"))
    return quota.fitting(total - others - scheduler, worker, wanted)
