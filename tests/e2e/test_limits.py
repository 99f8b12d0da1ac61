"""Section 5 of the user guide and the total of a user, on the real things, with the site's real numbers.

Workers of 64 cores fit on no node of the testbed: they count, and take nothing.
"""

from collections.abc import Iterator

import pytest

from gateway.kubernetes import names
from gateway.site import Backend
from release import process
from testbed import cluster, docker, submission
from testbed.waiting import until
from tests.e2e import faults, notebooks
from tests.e2e.administration import (
    SETTINGS,
    SLURMCTLD,
    Administrator,
    KubernetesAdministrator,
    SlurmAdministrator,
    kubectl,
    of_cluster,
)
from tests.e2e.notebooks import CellError, Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

on_kubernetes = pytest.mark.parametrize("backend", [Backend.KUBERNETES], indirect=True, scope="session", ids=str)
on_slurm = pytest.mark.parametrize("backend", [Backend.SLURM], indirect=True, scope="session", ids=str)
TOTAL = SETTINGS.kubernetes.user_total
START_SECONDS = SETTINGS.kubernetes.timeouts.start_seconds
LARGE = {"pixi_project": notebooks.PIXI_PROJECT, "worker_cores": 64, "worker_memory": 1}
FITTING = int((TOTAL.cores - SETTINGS.kubernetes.scheduler.cores) // 64)
"""How many of them the total leaves room for."""


@pytest.fixture
def bob(backend: Backend, no_leftovers: None) -> Iterator[Notebook]:
    """A notebook whose user holds nothing."""
    with Notebook("bob") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        yield kernel


def workers(name: str) -> int:
    """How many pods of workers a cluster has."""
    listed = kubectl("get", "pods", "--selector", of_cluster(name, names.WORKER_COMPONENT), "--output", "name")
    return len(listed.split())


@on_kubernetes
def test_the_total_of_a_user_holds_over_all_clusters(bob: Notebook) -> None:
    first = bob.run(notebooks.new_cluster(LARGE, "first"))
    (warning,) = bob.run(notebooks.warnings_of("first.scale(10)"))
    assert warning.startswith(f"The cluster gets {FITTING} of the 10 workers that you asked for. You hold 1 core")
    until("the workers that fit are there", lambda: workers(first) == FITTING, seconds=30)

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
def test_a_cluster_that_can_not_even_start_is_refused(bob: Notebook, administrator: Administrator) -> None:
    size = 57
    count = int((TOTAL.cores - SETTINGS.kubernetes.scheduler.cores) // size)
    assert size * count + SETTINGS.kubernetes.scheduler.cores == TOTAL.cores
    name = bob.run(notebooks.new_cluster({**LARGE, "worker_cores": size}, "first"))
    bob.run(f"first.scale({count})")
    until("the user holds all that is allowed", lambda: workers(name) == count, seconds=30)
    before = administrator.everything()
    with pytest.raises(CellError, match=r"There is no room for another cluster: its scheduler needs 1 core") as caught:
        bob.run(notebooks.new_cluster(notebooks.SMALL, "second"))
    assert f"{name} ({TOTAL.cores:g} cores" in caught.value.message
    until("nothing is left", lambda: administrator.everything() <= before, seconds=30)


@pytest.fixture
def closed_nodes() -> Iterator[None]:
    """SLURM whose nodes take no new jobs."""
    nodes = docker.execute(SLURMCTLD, ["sinfo", "--noheader", "--format", "%N"]).strip()
    with faults.drained(nodes):
        yield


@on_slurm
def test_a_scheduler_that_waits_too_long_in_the_queue_fails_with_the_reason(
    bob: Notebook, administrator: Administrator, closed_nodes: None
) -> None:
    before = administrator.everything()
    seconds = SETTINGS.slurm.timeouts.start_seconds
    with pytest.raises(CellError) as caught:
        bob.run(notebooks.new_cluster(notebooks.SMALL), seconds=seconds + 60)
    beginning = f"The cluster did not start within {seconds} s: the scheduler's job waits in SLURM's queue ("
    assert beginning in caught.value.message
    until("nothing is left", lambda: administrator.everything() <= before, seconds=30)


@on_slurm
def test_what_can_not_be_cancelled_is_cancelled_later(bob: Notebook, administrator: SlurmAdministrator) -> None:
    name = bob.run(notebooks.new_cluster(notebooks.SMALL))
    bob.run(notebooks.connect())
    process.run(["docker", "pause", SLURMCTLD])
    try:
        bob.run("client.close()\ncluster.shutdown()")
        until("a cancel has failed", lambda: "failed" in _said(name), seconds=90)
    finally:
        process.run(["docker", "unpause", SLURMCTLD])
    until("nothing is left", lambda: not administrator.pieces(name), seconds=120)


def _said(name: str) -> str:
    """What the gateway has logged of a cluster, with the errors that follow."""
    command = ["journalctl", "--no-pager", "--unit", "dask-gateway", "--since", "-3min"]
    return docker.execute(submission.CONTAINER, command).partition(f"Stopping cluster {name}")[2]


@pytest.fixture
def closed_node() -> Iterator[None]:
    """A cluster whose only node takes no new pods."""
    cluster.kubectl("cordon", cluster.NODE)
    try:
        yield
    finally:
        cluster.kubectl("uncordon", cluster.NODE)


@on_kubernetes
def test_what_does_not_start_in_time_fails_with_the_reason(
    bob: Notebook, administrator: KubernetesAdministrator, closed_node: None
) -> None:
    before = administrator.everything()
    with pytest.raises(CellError) as caught:
        bob.run(notebooks.new_cluster(notebooks.SMALL), seconds=START_SECONDS + 60)
    assert (
        f"The cluster did not start within {START_SECONDS} s: no node takes the scheduler's pod"
        " (0/1 nodes are available: 1 node(s) were unschedulable"
    ) in caught.value.message
    left = {name for name in administrator.everything() - before if "daskcluster" not in name}
    until("nothing but the record is left", lambda: not left & administrator.everything(), seconds=30)
