"""The last status of a cluster, and what the controller deletes with it."""

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.kubernetes.controller.configuration import controller_config
from gateway.kubernetes.controller.controller import FacilityKubeController


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


async def test_the_lease_is_beside_the_controllers_own_pod(testbed_site, kubeconfig):
    asked = []

    async def answer(request):
        asked.append(request.path)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": "another"}})

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    controller = FacilityKubeController(config=controller_config(testbed_site))
    async with TestServer(application) as server:
        kubeconfig(server)
        await controller._connect()
        assert not await controller.lease.try_renew()
        await controller.api_client.close()
    assert asked == ["/apis/coordination.k8s.io/v1/namespaces/cms/leases/controller-dask-gateway-k8s"]
