"""The timeouts of clusters: of the start, the lifetime, and the time without a client."""

import pytest

from gateway.kubernetes.controller.configuration import controller_config
from gateway.kubernetes.controller.controller import FacilityKubeController
from tests.unit.kubernetes.world import World, availability, stamp


def patient(site):
    """Return the site with a start timeout that never expires."""
    timeouts = site.kubernetes.timeouts.model_copy(update={"start_seconds": 10**9})
    return site.model_copy(update={"kubernetes": site.kubernetes.model_copy(update={"timeouts": timeouts})})


async def test_what_has_not_started_in_time_fails_and_leaves_nothing(world):
    cluster = world.cluster("c1", phase="Pending", age=119)
    world.kubernetes.secrets.add("dask-variables-c1")
    await world.step(cluster)
    world.kubernetes.events = [{"type": "Warning", "reason": "FailedMount", "message": "not a directory"}]
    world.news()
    cluster["metadata"]["creationTimestamp"] = stamp(121)
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Failed"
    assert cluster["status"]["reason"] == ("The cluster did not start within 120 s: not a directory (FailedMount)")
    assert world.kubernetes.deleted == ["dask-scheduler-c1"]
    assert world.kubernetes.secrets == set()


@pytest.mark.parametrize("phase", ["Running", "Pending"])
async def test_the_lifetime_ends_clusters(testbed_site, phase):
    world = World(patient(testbed_site))
    young = world.cluster("c1", phase=phase, age=86390)
    old = await world.running("c2", age=86401, lastClient=stamp(5))
    old["status"] = old["status"] if phase == "Running" else {}
    await world.step(old)
    assert (old["status"]["phase"], old["status"]["reason"]) == (
        "Stopped",
        "The cluster has reached its lifetime of 24 h.",
    )
    assert world.kubernetes.deleted == ["dask-scheduler-c2"]
    if phase == "Pending":
        await world.step(young)
        assert young["status"].get("phase") == "Pending"


@pytest.mark.parametrize(
    ("age", "said", "ends"),
    [(3590, None, False), (3601, None, True), (80000, 3590, False), (80000, 3602, True), (10, None, False)],
)
async def test_a_cluster_without_clients_ends(world, age, said, ends):
    cluster = await world.running("c1", age=age, **({} if said is None else {"lastClient": stamp(said)}))
    await world.step(cluster)
    assert cluster["status"]["phase"] == ("Stopped" if ends else "Running")
    if ends:
        assert cluster["status"]["reason"] == "No client was connected to the cluster for 1 h."
        assert world.kubernetes.deleted == ["dask-scheduler-c1"]
    else:
        assert world.controller.queue.delays == {"cms-dask.c1": 3600 - (age if said is None else said)}


@pytest.mark.parametrize(
    ("replicas", "conditions", "working_seconds", "left"),
    [
        pytest.param(None, availability(7200, "True"), 7200, 30, id="no replica of the API is wanted"),
        pytest.param(2, None, 7200, 30, id="a Deployment without a status"),
        pytest.param(1, availability(7200, "False"), 7200, 30, id="a replica is missing"),
        pytest.param(2, availability(20, "True"), 7200, 10, id="available again for a short time"),
        pytest.param(2, availability(7200, "True"), 10, 20, id="a controller that has just begun"),
        pytest.param(2, availability(40, "True"), 40, None, id="all back"),
    ],
)
async def test_a_client_that_could_not_be_reported_is_not_taken_for_gone(
    world, replicas, conditions, working_seconds, left
):
    cluster = await world.running("c1", age=80000, lastClient=stamp(3700))
    world.kubernetes.api_replicas, world.kubernetes.api_conditions = replicas, conditions
    world.working_seconds = working_seconds
    await world.step(cluster)
    assert cluster["status"]["phase"] == ("Stopped" if left is None else "Running")
    if left is not None:
        assert world.controller.queue.delays == {"cms-dask.c1": left}


async def test_a_cluster_is_requeued_for_its_next_timeout(world):
    await world.step(world.cluster("c1", phase="Pending", age=100))
    assert world.controller.queue.delays == {"cms-dask.c1": 20}


def test_the_guides_timeouts_and_total(geddes_site):
    gateway = FacilityKubeController(config=controller_config(geddes_site)).gateway
    assert (gateway.timeouts.start_seconds, gateway.timeouts.lifetime_seconds) == (120, 86400)
    assert gateway.timeouts.client_gone_seconds == 3600
    total = gateway.total_of("purdue")
    assert (total.cores, total.memory_gib) == (400, 800)
