"""The total of a user over all clusters, as the controller applies it to workers and schedulers."""

import asyncio

from gateway.site import UserTotal
from tests.unit.kubernetes.samples import DAVE
from tests.unit.kubernetes.world import World, sized


async def test_a_user_gets_no_more_than_the_total(world):
    first = await world.running("c1", sized(64), replicas=10)
    await world.step(first)
    assert len(world.workers("c1")) == 6  # 1 + 6 * 64 of 400
    second = await world.running("c2", sized(10), replicas=10)
    await world.step(second)
    assert len(world.workers("c2")) == 1  # 1 + 10 of the 15 that are left


async def test_memory_counts_as_cores_do(world):
    cluster = await world.running("c1", sized(1, gib=256), replicas=10)
    await world.step(cluster)
    assert len(world.workers("c1")) == 3  # 1 + 3 * 256 of 800


async def test_everything_at_once_stays_within_the_total(world):
    clusters = [await world.running(f"c{number}", sized(8), replicas=100) for number in range(8)]
    await asyncio.gather(*(world.step(cluster) for cluster in clusters for _ in range(2)))
    counts = [len(world.workers(f"c{number}")) for number in range(8)]
    assert sum(counts) == (400 - 8) // 8
    world.news()
    await asyncio.gather(*(world.step(cluster) for cluster in clusters))
    assert sum(len(world.workers(f"c{number}")) for number in range(8)) == (400 - 8) // 8


async def test_another_users_total_is_another(world):
    await world.step(await world.running("c1", sized(64), replicas=10))
    await world.step(await world.running("c2", sized(64, request=DAVE), replicas=10))
    assert len(world.workers("c1")) == len(world.workers("c2")) == 6


async def test_a_class_may_have_a_total_of_its_own(testbed_site):
    own = {"user_total_by_class": {"cern": UserTotal(cores=65, memory_gib=800)}}
    site = testbed_site.model_copy(update={"kubernetes": testbed_site.kubernetes.model_copy(update=own)})
    world = World(site)
    await world.step(await world.running("c2", sized(64, request=DAVE), replicas=10))
    await world.step(await world.running("c1", sized(64), replicas=10))
    assert (len(world.workers("c2")), len(world.workers("c1"))) == (1, 6)


async def test_who_waits_grows_when_room_becomes_free(world):
    first = await world.running("c1", sized(64), replicas=6)
    await world.step(first)
    second = await world.running("c2", sized(64), replicas=2)
    await world.step(second)
    assert world.workers("c2") == []
    await world.queued()
    first["spec"]["replicas"] = 5
    world.news()
    await world.step(first)
    await world.step(second)
    assert world.workers("c2") == []  # a pod that is being deleted still holds its resources
    await world.queued()
    world.gone(world.kubernetes.deleted[0])
    assert "cms-dask.c2" in await world.queued()
    await world.step(second)
    assert len(world.workers("c2")) == 1


async def test_waiting_clusters_of_a_user_share_what_becomes_free(world):
    big = await world.running("c1", sized(64), replicas=6)
    await world.step(big)
    others = [await world.running(f"c{number}", sized(10), replicas=30) for number in (2, 3)]
    for cluster in others:
        await world.step(cluster)
    await world.controller.cleanup_cluster_resources({"schedulerPod": "dask-scheduler-c1"}, "cms-dask")
    for name in [*world.workers("c1"), "dask-scheduler-c1"]:
        world.gone(name)
    for cluster in others:
        await world.step(cluster)
    assert {len(world.workers("c2")), len(world.workers("c3"))} == {19, 20}


async def test_the_count_survives_a_restart(world):
    cluster = await world.running("c1", sized(64), replicas=10)
    await world.step(cluster)
    again = World(world.site, kubernetes=world.kubernetes)
    again.controller.informers["cluster"].cache["cms-dask.c1"] = cluster
    again.news()
    await again.step(cluster)
    assert len(again.workers("c1")) == 6


async def test_a_scheduler_needs_room_too(world):
    await world.step(await world.running("c1", sized(57), replicas=7))  # 1 + 7 * 57 = 400
    cluster = world.cluster("c2", phase="Pending")
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Failed"
    assert cluster["status"]["reason"].startswith("There is no room for another cluster: its scheduler needs 1 core")
    assert "cms-dask.c1 (400 cores" in cluster["status"]["reason"]
    assert "dask-scheduler-c2" not in world.kubernetes.pods
    assert world.kubernetes.secrets == set()


async def test_a_scheduler_waits_for_room_that_is_becoming_free(world):
    first = await world.running("c1", sized(57), replicas=7)
    await world.step(first)
    world.news()
    first["spec"]["active"] = False
    await world.step(first)
    world.news()
    cluster = world.cluster("c2", phase="Pending")
    await world.step(cluster)
    assert "dask-scheduler-c2" not in world.kubernetes.pods
    assert cluster["status"].keys() == {"phase", "credentials", "networkPolicy"}
    await world.queued()
    world.gone("dask-scheduler-c1")
    assert "cms-dask.c2" in await world.queued()
    await world.step(cluster)
    assert "dask-scheduler-c2" in world.kubernetes.pods
    assert cluster["status"]["phase"] == "Pending"


async def test_a_scheduler_is_made_once_and_counted_at_once(world):
    cluster = world.cluster("c1", phase="Pending")
    await world.step(cluster)
    await world.step(cluster)
    assert list(world.kubernetes.pods) == ["dask-scheduler-c1"]
    assert world.controller.ledger.held("alice")["cms-dask.c1"].millicores == 1000
