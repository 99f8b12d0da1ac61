"""What the clusters of a user hold on SLURM, as far as the site bounds it. Pure."""

from collections.abc import Sequence
from typing import Any

from dask_gateway_server.backends.db_base import Cluster, JobStatus

from gateway import quota
from gateway.quota import Amount, Claim
from gateway.site import UserTotal


def scheduler_amount(config: Any) -> Amount:
    """Of a cluster's configuration."""
    return Amount.of(config.scheduler_cores, config.scheduler_memory)


def worker_amount(config: Any) -> Amount:
    """Of one worker."""
    return Amount.of(config.worker_cores, config.worker_memory)


def held(clusters: Sequence[Cluster]) -> dict[str, Amount]:
    """Cluster -> what it holds: workers that wait in the queue too, and those that still end."""
    return {cluster.name: _held(cluster) for cluster in clusters}


def _held(cluster: Cluster) -> Amount:
    count = len([worker for worker in cluster.workers.values() if worker.status < JobStatus.STOPPED])
    return scheduler_amount(cluster.config) + worker_amount(cluster.config) * count


def missing(cluster: Cluster) -> int:
    """How many workers a cluster wishes for beside those that it has."""
    if cluster.target != JobStatus.RUNNING or cluster.status != JobStatus.RUNNING:
        return 0
    return int(max(0, cluster.count - len(cluster.active_workers())))


def grant(bound: UserTotal | None, clusters: Sequence[Cluster], cluster: Cluster) -> int:
    """How many of the missing workers a cluster gets now, fair between all clusters of its user."""
    if bound is None:
        return missing(cluster)
    total, amounts = Amount.of_total(bound), held(clusters)
    claims = [Claim(other.name, amounts[other.name], worker_amount(other.config), missing(other)) for other in clusters]
    return quota.granted(total - quota.sum_of(amounts.values()), total, claims).get(cluster.name, 0)


def advice(bound: UserTotal | None, clusters: Sequence[Cluster], cluster: Cluster, wanted: int) -> str | None:
    """What the user is told whose total leaves no room for so many workers of a cluster; None if it does."""
    if bound is None:
        return None
    total, amounts = Amount.of_total(bound), held(clusters)
    own = amounts.pop(cluster.name)
    worker, scheduler = worker_amount(cluster.config), scheduler_amount(cluster.config)
    room = total - quota.sum_of(amounts.values()) - scheduler
    granted = quota.granted(room, total, [Claim(cluster.name, scheduler, worker, wanted)])[cluster.name]
    return quota.trimmed(wanted, granted, {**amounts, cluster.name: own}, total) if granted < wanted else None
