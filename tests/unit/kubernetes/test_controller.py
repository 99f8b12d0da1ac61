"""The last status of a cluster, and what the controller deletes with it."""

import json

import pytest


async def test_the_last_status_is_the_last(world):
    """The informer may show a cluster as running for a while after the controller has ended it."""
    cluster = await world.running("c1", active=False)
    before = json.loads(json.dumps(cluster))
    await world.controller.reconcile_cluster("cms-dask.c1")
    assert world.kubernetes.statuses["c1"]["phase"] == "Stopped"
    world.kubernetes.statuses.clear()
    world.controller.informers["cluster"].cache["cms-dask.c1"] = {**before, "spec": {**before["spec"], "active": True}}
    world.gone("dask-scheduler-c1")
    await world.controller.reconcile_cluster("cms-dask.c1")
    assert world.kubernetes.statuses == {}


async def test_the_record_of_an_ended_cluster_is_due_for_deletion(world):
    """Upstream deletes records by the times in ``stopped_clusters``."""
    cluster = await world.running("c1", active=False)
    await world.controller.reconcile_cluster("cms-dask.c1")
    assert world.controller.stopped_clusters == {}
    cluster["status"] = world.kubernetes.statuses["c1"]
    await world.controller.reconcile_cluster("cms-dask.c1")
    assert world.controller.stopped_clusters.keys() == {"cms-dask.c1"}


@pytest.mark.weakness(33)
@pytest.mark.parametrize("active", [True, False])
async def test_variables_go_when_a_cluster_ends(world, active):
    cluster = await world.running("c1", active=active)
    world.kubernetes.secrets.add("dask-variables-c1")
    await world.step(cluster)
    assert ("dask-variables-c1" in world.kubernetes.secrets) is active
