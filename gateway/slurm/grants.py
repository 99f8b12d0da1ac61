"""What the clusters of a user hold on SLURM, as far as the site bounds it. Pure."""

from collections.abc import Mapping, Sequence

from dask_gateway_server.backends.db_base import Cluster, JobStatus

from gateway.request import quota
from gateway.request.quota import Claim, Resources
from gateway.site import UserTotal


def held(clusters: Sequence[Cluster]) -> dict[str, Resources]:
    """Cluster -> what it holds: workers that wait in the queue too, and those that still end."""
    return {cluster.name: _held(cluster) for cluster in clusters}


def _held(cluster: Cluster) -> Resources:
    count = len([worker for worker in cluster.workers.values() if worker.status < JobStatus.STOPPED])
    return Resources.of_role(cluster.config, "scheduler") + Resources.of_role(cluster.config, "worker") * count


def missing(cluster: Cluster) -> int:
    """How many workers a cluster wishes for beside those that it has."""
    if cluster.target != JobStatus.RUNNING or cluster.status != JobStatus.RUNNING:
        return 0
    return int(max(0, cluster.count - len(cluster.active_workers())))


def grant(bound: UserTotal | None, clusters: Sequence[Cluster], cluster: Cluster) -> int:
    """How many of the missing workers a cluster gets now, fair between all clusters of its user."""
    if bound is None:
        return missing(cluster)
    total, amounts = Resources.of_total(bound), held(clusters)
    claims = [
        Claim(other.name, amounts[other.name], Resources.of_role(other.config, "worker"), missing(other))
        for other in clusters
    ]
    return quota.granted(total - quota.sum_of(amounts.values()), total, claims).get(cluster.name, 0)


def reachable(cluster: Cluster, wanted: int, all_held: Mapping[str, Resources], total: Resources) -> int:
    """How many of the wanted workers the total leaves room for, those that the cluster has included."""
    others = quota.sum_of(all_held.values()) - all_held[cluster.name]
    scheduler, worker = (Resources.of_role(cluster.config, role) for role in ("scheduler", "worker"))
    return quota.fitting(total - others - scheduler, worker, wanted)
