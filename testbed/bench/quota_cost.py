"""What the check of a user's total costs, in the processes themselves: no network, on objects as they hold them."""

import time
from collections.abc import Callable
from typing import Any

from gateway.kubernetes import cluster_spec, names
from gateway.kubernetes.api import estimate
from gateway.kubernetes.controller.ledger import Entry, Ledger, State
from gateway.kubernetes.controller.user_totals import UserTotals
from gateway.kubernetes.controller.waiting import WaitingClusters
from gateway.kubernetes.informers import PatientInformer
from gateway.request import quota
from gateway.site import GIB, Site

CLUSTERS_OF_ALL = 200
"""Number of clusters that the API server checks when a user creates one more."""
CLUSTERS_OF_USER = 20
WORKERS_OF_CLUSTER = 14
"""Number of the user's clusters in the controller's ledger when one more requests workers."""
WANTED = 100
USERS = tuple(f"user{number}" for number in range(CLUSTERS_OF_ALL // CLUSTERS_OF_USER))


def of_create(site: Site, repetitions: int) -> list[float]:
    """Return the seconds in which the API server checks whether a user has room for a cluster."""
    clusters = [_cluster(site, f"c{number}", USERS[number % len(USERS)]) for number in range(CLUSTERS_OF_ALL)]
    total = quota.Resources.of_total(site.kubernetes.user_total, site.kubernetes.maximum_workers.per_user)
    scheduler = cluster_spec.scheduler_resources(site.kubernetes)

    def check() -> None:
        held = estimate.held(clusters, USERS[0], scheduler)
        assert len(held) == CLUSTERS_OF_USER
        (total - quota.sum_of(held.values())).covers(scheduler)

    return [_seconds(check) for _ in range(repetitions)]


def of_scale(site: Site, repetitions: int) -> list[float]:
    """Seconds in which the controller shares out room for many workers, beside the user's other clusters."""
    clusters, ledger = PatientInformer(), Ledger()
    clusters.cache = {}
    totals = UserTotals(site, ledger, WaitingClusters(), clusters)
    for number in range(CLUSTERS_OF_USER):
        for pod in range(WORKERS_OF_CLUSTER):
            ledger.saw(f"pod-{number}-{pod}", _worker(f"c{number}"))
    cluster = _cluster(site, "more", USERS[0])

    def check() -> None:
        assert totals.grant_workers(cluster, WANTED) == WANTED

    return [_seconds(check) for _ in range(repetitions)]


def _cluster(site: Site, name: str, username: str) -> dict[str, Any]:
    """Return a DaskCluster as the API server of Kubernetes sends it."""
    return {
        "metadata": {"name": name, "namespace": site.kubernetes.clusters_namespace},
        "spec": {"username": username, "options": {"worker_cores": 1.0, "worker_memory": 1.0}},
        "status": {"phase": "Running", "workers": 1},
    }


def _worker(cluster: str) -> Entry:
    return Entry(names.label_value(USERS[0]), cluster, True, quota.Resources.of(1, GIB), State.RUNNING)


def _seconds(check: Callable[[], None]) -> float:
    started = time.perf_counter()
    check()
    return time.perf_counter() - started
