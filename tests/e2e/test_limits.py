"""Start timeouts (section 5 of the user guide) and the user total, with the numbers of the testbed's site.

Workers of 64 cores fit on no node of the testbed: their pods count for the user total and never run.
"""

from collections.abc import Iterator

import pytest

from gateway.kubernetes import names
from gateway.site import Backend
from testbed import cluster, docker, submission
from testbed.waiting import until
from tests.e2e import faults, notebooks
from tests.e2e.administration import Administrator, KubernetesAdministrator, SlurmAdministrator
from tests.e2e.back_ends import on_kubernetes, on_slurm
from tests.e2e.machines import SETTINGS, SLURMCTLD, kubectl_clusters, of_cluster
from tests.e2e.notebooks import CellError, Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

TOTAL = SETTINGS.kubernetes.user_total
START_SECONDS = SETTINGS.kubernetes.timeouts.start_seconds
LARGE = {"pixi_project": notebooks.PIXI_PROJECT, "worker_cores": 64, "worker_memory": 1}
FITTING = int((TOTAL.cores - SETTINGS.kubernetes.scheduler.cores) // 64)
"""How many workers of :data:`LARGE` fit into the user total."""


@pytest.fixture
def bob(backend: Backend, no_leftovers: None) -> Iterator[Notebook]:
    """Return a notebook of a user without clusters."""
    with notebooks.connected("bob", backend) as kernel:
        yield kernel


def workers(name: str) -> int:
    """Return how many pods of workers a cluster has."""
    selected = ("--selector", of_cluster(name, names.WORKER_COMPONENT))
    listed = kubectl_clusters("get", "pods", *selected, "--output", "name")
    return len(listed.split())


@on_kubernetes
def test_the_user_total_bounds_all_clusters_together(bob: Notebook) -> None:
    first = bob.run(notebooks.new_cluster(LARGE, "first"))
    (warning,) = bob.run(notebooks.warnings_of("first.scale(10)"))
    assert warning.startswith(f"The cluster gets {FITTING} of the 10 workers that you asked for. You hold 1 core")
    until("as many workers as fit have pods", lambda: workers(first) == FITTING, seconds=30)

    second = bob.run(notebooks.new_cluster(LARGE, "second"))
    (warning,) = bob.run(notebooks.warnings_of("second.scale(2)"))
    assert warning.startswith("The cluster gets 0 of the 2 workers")
    assert first in warning
    assert (workers(first), workers(second)) == (FITTING, 0)

    assert bob.run(notebooks.warnings_of(f"first.scale({FITTING - 1})")) == []
    until(
        "the other cluster grows by itself", lambda: (workers(first), workers(second)) == (FITTING - 1, 1), seconds=60
    )


@on_kubernetes
def test_a_cluster_without_room_for_its_scheduler_is_refused(bob: Notebook, administrator: Administrator) -> None:
    size = 57
    count = int((TOTAL.cores - SETTINGS.kubernetes.scheduler.cores) // size)
    assert size * count + SETTINGS.kubernetes.scheduler.cores == TOTAL.cores
    name = bob.run(notebooks.new_cluster({**LARGE, "worker_cores": size}, "first"))
    bob.run(f"first.scale({count})")
    until("the user holds the whole total", lambda: workers(name) == count, seconds=30)
    before = administrator.all_objects()
    with pytest.raises(CellError, match=r"There is no room for another cluster: its scheduler needs 1 core") as caught:
        bob.run(notebooks.new_cluster(notebooks.SMALL, "second"))
    assert f"{name} ({TOTAL.cores:g} cores" in caught.value.message
    until("nothing is left", lambda: administrator.all_objects() <= before, seconds=30)


@pytest.fixture
def closed_nodes() -> Iterator[None]:
    """Drain all nodes of SLURM."""
    nodes = docker.execute(SLURMCTLD, ["sinfo", "--noheader", "--format", "%N"]).strip()
    with faults.drained(nodes):
        yield


@on_slurm
def test_a_scheduler_that_waits_too_long_in_the_queue_fails_with_the_reason(
    bob: Notebook, administrator: Administrator, closed_nodes: None
) -> None:
    before = administrator.all_objects()
    seconds = SETTINGS.slurm.timeouts.start_seconds
    with pytest.raises(CellError) as caught:
        bob.run(notebooks.new_cluster(notebooks.SMALL), seconds=seconds + 60)
    beginning = f"The cluster did not start within {seconds} s: the scheduler's job waits in SLURM's queue ("
    assert beginning in caught.value.message
    until("nothing is left", lambda: administrator.all_objects() <= before, seconds=30)


@on_slurm
def test_a_failed_cancel_is_retried(bob: Notebook, administrator: SlurmAdministrator) -> None:
    name = notebooks.start_cluster(bob)
    with faults.paused_machine(SLURMCTLD):
        bob.run("client.close()\ncluster.shutdown()")
        until("a cancel has failed", lambda: "failed" in _log_since_stop(name), seconds=90)
    administrator.await_end(name, seconds=120)


def _log_since_stop(name: str) -> str:
    """Return what the gateway has logged since it began to stop a cluster."""
    command = ["journalctl", "--no-pager", "--unit", "dask-gateway", "--since", "-3min"]
    return docker.execute(submission.CONTAINER, command).partition(f"Stopping cluster {name}")[2]


@pytest.fixture
def closed_node() -> Iterator[None]:
    """Cordon the only node of Kubernetes: it takes no new pods."""
    cluster.kubectl("cordon", cluster.NODE)
    try:
        yield
    finally:
        cluster.kubectl("uncordon", cluster.NODE)


@on_kubernetes
def test_a_scheduler_that_no_node_takes_fails_with_the_reason(
    bob: Notebook, administrator: KubernetesAdministrator, closed_node: None
) -> None:
    before = administrator.all_objects()
    with pytest.raises(CellError) as caught:
        bob.run(notebooks.new_cluster(notebooks.SMALL), seconds=START_SECONDS + 60)
    assert (
        f"The cluster did not start within {START_SECONDS} s: no node takes the scheduler's pod"
        " (0/1 nodes are available: 1 node(s) were unschedulable"
    ) in caught.value.message
    administrator.await_no_leftovers(before, seconds=30)
