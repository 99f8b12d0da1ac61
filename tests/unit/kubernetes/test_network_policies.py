"""The NetworkPolicy of a cluster: what it allows, and that it exists before the first pod and ends with the cluster."""

import pytest
from kubernetes_asyncio.client.rest import ApiException

from gateway.kubernetes import dask_clusters

STARTED = {dask_clusters.STARTED: "2026-11-25T00:00:00Z"}


async def policy_of(world, name):
    await world.step(world.cluster(name, phase="Pending"))
    return world.kubernetes.policies[f"dask-{name}"]


@pytest.mark.finding("R9")
async def test_a_cluster_has_its_policy_before_its_first_pod(world):
    assert (await policy_of(world, "c1"))["pods_before"] == []
    assert list(world.kubernetes.pods) == ["dask-scheduler-c1"]


@pytest.mark.finding("R9")
async def test_pods_of_a_cluster_reach_each_other_and_no_other_cluster(world):
    one, other = await policy_of(world, "c1"), await policy_of(world, "c2")
    cluster = world.controller.informers["cluster"].get("cms-dask.c1")
    cluster["spec"].update(STARTED, replicas=1)
    world.kubernetes.pods["dask-scheduler-c1"]["status"]["podIP"] = "10.0.0.1"
    world.news()
    await world.step(cluster)
    await world.step(cluster)
    pods = {name: pod["metadata"]["labels"] for name, pod in world.kubernetes.pods.items()}
    assert selected(one["spec"], pods) == {"dask-scheduler-c1", *world.workers("c1")}
    assert len(selected(one["spec"], pods)) == 2
    assert selected(other["spec"], pods) == {"dask-scheduler-c2"}
    for policy in (one, other):
        itself = {"podSelector": policy["spec"]["podSelector"]}
        (ingress,), (egress,) = policy["spec"]["ingress"], policy["spec"]["egress"]
        assert (ingress["from"], egress["to"]) == ([itself], [itself])


def selected(spec, pods):
    wanted = spec["podSelector"]["matchLabels"].items()
    assert wanted
    return {name for name, labels in pods.items() if wanted <= labels.items()}


@pytest.mark.parametrize(
    ("port", "is_open"),
    [(8786, True), (8787, False), (8788, False), (8000, False), (22, False), (32768, True), (60999, True)],
)
async def test_scheduler_and_workers_listen_on_ports_that_are_open(world, port, is_open):
    spec = (await policy_of(world, "c1"))["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    for (rule,) in (spec["ingress"], spec["egress"]):
        found = any(item["port"] <= port <= item.get("endPort", item["port"]) for item in rule["ports"])
        assert found is is_open


async def test_a_policy_goes_with_its_cluster(world):
    cluster = world.cluster("c1", phase="Pending", **STARTED)
    await world.step(cluster)
    (owner,) = world.kubernetes.policies["dask-c1"]["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("DaskCluster", "uid-c1")
    cluster["spec"]["active"] = False
    await world.step(cluster)
    assert world.kubernetes.policies == {}


async def test_a_policy_that_is_there_already_is_taken(world):
    await world.kubernetes.create_namespaced_network_policy("cms-dask", {"metadata": {"name": "dask-c1"}})
    await world.step(world.cluster("c1", phase="Pending"))
    assert list(world.kubernetes.pods) == ["dask-scheduler-c1"]


async def test_no_pod_starts_while_kubernetes_refuses_the_policy(world):
    world.controller.networking_client = Refusing()
    with pytest.raises(ApiException):
        await world.step(world.cluster("c1", phase="Pending"))
    assert world.kubernetes.pods == {}


class Refusing:
    """Kubernetes' API for policies, which refuses each creation."""

    async def create_namespaced_network_policy(self, namespace, policy):
        raise ApiException(status=403)


async def test_a_running_cluster_of_an_older_gateway_gets_its_policy(world):
    cluster = await world.running("c1", replicas=1)
    assert world.kubernetes.policies == {}
    await world.step(cluster)
    assert list(world.kubernetes.policies) == ["dask-c1"]
    assert cluster["status"]["networkPolicy"] == "dask-c1"
