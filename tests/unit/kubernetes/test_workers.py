"""Workers that the controller creates and deletes, against a Kubernetes that is kept in memory.

Where upstream's controller differs, a test shows that too, so that we notice when upstream mends it.
"""

import asyncio

import pytest
from aiohttp import ClientConnectionError
from dask_gateway_server.backends.kubernetes.controller import KubeController
from kubernetes_asyncio.client.rest import ApiException

from gateway.kubernetes.controller.controller import FacilityKubeController
from gateway.kubernetes.controller.workers import MOST_AT_ONCE
from tests.unit.kubernetes.world import World, sized


async def test_missing_workers_are_made_once(world):
    cluster = await world.running("c1", replicas=4)
    await world.step(cluster)
    assert len(world.workers("c1")) == 4
    await world.step(cluster)  # before any event
    world.news()
    await world.step(cluster)
    assert len(world.workers("c1")) == 4
    assert cluster["status"]["workers"] == 4


async def test_unscheduled_workers_are_workers(world):
    cluster = await world.running("c1", replicas=4)
    await world.step(cluster)
    world.news()
    cluster["spec"]["replicas"] = 6
    await world.step(cluster)
    assert len(world.workers("c1")) == 6


async def test_upstream_waits_ten_minutes_for_unscheduled_workers(testbed_site):
    """dask/dask-gateway#252: the bug behind the test before."""
    world = World(testbed_site, KubeController)
    cluster = await world.running("c1", replicas=4)
    await world.step(cluster)
    world.news()
    cluster["spec"]["replicas"] = 6
    await world.step(cluster)
    assert len(world.workers("c1")) == 4
    world.controller.cluster_info["cms-dask.c1"].timestamp -= 601
    await world.step(cluster)
    assert len(world.workers("c1")) == 10


async def workers_left(world, before, after):
    """Return the workers of a cluster that requested ``before`` workers, none of which runs, and then ``after``."""
    cluster = await world.running("c1", replicas=before)
    await world.step(cluster)
    for name in world.workers("c1"):
        world.becomes(name, "waiting")
    cluster["spec"]["replicas"] = after
    await world.step(cluster)
    return len(world.workers("c1"))


@pytest.mark.parametrize(("before", "after"), [(10, 0), (5, 4), (5, 1), (3, 3)])
async def test_waiting_workers_go_when_fewer_are_wanted(world, before, after):
    assert await workers_left(world, before, after) == after


@pytest.mark.parametrize(("before", "after", "left"), [(10, 0, 10), (5, 4, 1)])
async def test_upstream_deletes_the_wrong_number_of_workers(testbed_site, before, after, left):
    """dask/dask-gateway#252: the bug behind the test before."""
    world = World(testbed_site, KubeController)
    assert await workers_left(world, before, after) == left


async def test_running_workers_are_left_to_the_scheduler(world):
    cluster = await world.running("c1", replicas=3)
    await world.step(cluster)
    for name in world.workers("c1"):
        world.becomes(name, "running")
    cluster["spec"]["replicas"] = 0
    await world.step(cluster)
    assert len(world.workers("c1")) == 3


async def test_ended_workers_are_deleted_and_replaced(world):
    cluster = await world.running("c1", replicas=2)
    await world.step(cluster)
    victim = world.workers("c1")[0]
    world.becomes(victim, "terminated", phase="Failed")
    assert "cms-dask.c1" in await world.queued()
    await world.step(cluster)
    assert world.kubernetes.deleted == [victim]
    assert len(world.workers("c1")) == 2


@pytest.mark.parametrize("kind", [FacilityKubeController, KubeController])
async def test_a_worker_that_is_gone_already_is_no_fault(testbed_site, kind):
    """Upstream reads the attribute ``code`` of the error, which does not exist."""
    world = World(testbed_site, kind)
    if kind is KubeController:
        with pytest.raises(AttributeError):
            await world.controller.delete_pod("cms-dask", "w1")
    else:
        assert await world.controller.workers.delete(["cms-dask.w1"]) is True


UNANSWERED = [ApiException(status=500), ClientConnectionError("closed"), TimeoutError()]


@pytest.mark.parametrize("error", UNANSWERED, ids=repr)
async def test_a_worker_that_can_not_be_deleted_is_tried_again(world, error):
    cluster = await world.running("c1", replicas=1)
    await world.step(cluster)
    world.news()
    cluster["spec"]["replicas"] = 0
    world.kubernetes.refusals.append(error)
    assert await world.step(cluster) is True
    assert await world.step(cluster) is False
    assert world.workers("c1") == []


@pytest.mark.parametrize("error", [ApiException(status=403), *UNANSWERED], ids=repr)
async def test_refused_workers_are_tried_again_and_hold_nothing(world, error):
    cluster = await world.running("c1", replicas=7)
    world.kubernetes.refusals.extend([None, error])
    assert await world.step(cluster) is True
    assert len(world.workers("c1")) == 2
    world.news()
    assert await world.step(cluster) is False
    assert len(world.workers("c1")) == 7


@pytest.mark.parametrize(("method", "left"), [("create_namespaced_pod", 300), ("delete_namespaced_pod", 0)])
async def test_many_workers_are_not_begun_in_one_turn_of_the_loop(world, monkeypatch, method, left):
    ask, begun, most = getattr(world.kubernetes, method), 0, 0

    async def counted(*arguments):
        nonlocal begun, most
        begun += 1
        most = max(most, begun)
        await asyncio.sleep(0)
        answer = await ask(*arguments)
        begun -= 1
        return answer

    cluster = await world.running("c1", sized(1), replicas=300)
    monkeypatch.setattr(world.kubernetes, method, counted)
    await world.step(cluster)
    world.news()
    cluster["spec"]["replicas"] = left
    await world.step(cluster)
    assert len(world.workers("c1")) == left
    assert most == MOST_AT_ONCE
