"""Schedulers with their credentials and routes: how they start, fail and end."""

import pytest
from dask_gateway_server.backends.kubernetes.controller import KubeController
from kubernetes_asyncio.client.rest import ApiException

from gateway.errors import Refusal
from gateway.identity.accounts import Account
from gateway.kubernetes import dask_clusters, names
from gateway.kubernetes.controller.controller import FacilityKubeController
from tests.unit.kubernetes.world import World, conflict


async def test_all_routes_to_a_scheduler_are_made_once_with_its_pod(world):
    cluster = world.cluster("c1", phase="Pending")
    await world.step(cluster)
    await world.step(cluster)
    made = {item["kind"]: item for item in world.kubernetes.routes}
    assert len(made) == len(world.kubernetes.routes)
    assert made.keys() == {"Service", "IngressRoute", "IngressRouteTCP"}
    assert {uid for item in made.values() for uid in owners(item)} == {"uid-dask-scheduler-c1"}
    assert "selector" not in made["Service"]["spec"]
    assert cluster["status"]["phase"] == "Pending"


def owners(item):
    return [owner["uid"] for owner in item["metadata"]["ownerReferences"]]


STARTED = {dask_clusters.STARTED: "2026-11-25T00:00:00Z"}


def gets_address(world, address="10.0.0.1", state="running"):
    """The kubelet reports the address of the scheduler pod, and the state of its container."""
    world.becomes("dask-scheduler-c1", state)
    world.controller.informers["pod"].cache["cms-dask.dask-scheduler-c1"]["status"]["podIP"] = address


READY = {"conditions": [{"type": "Ready", "status": "True"}]}
POD_IP = {"podIP": "10.0.0.1"}


@pytest.mark.parametrize(
    ("said", "status", "routed_to", "phase"),
    [
        ({**STARTED, "address": "10.0.0.9"}, {}, None, "Pending"),
        ({**STARTED, "address": "10.0.0.9"}, POD_IP, "10.0.0.1", "Running"),
        (STARTED, POD_IP, "10.0.0.1", "Running"),
        (STARTED, {}, None, "Pending"),
        ({}, POD_IP, "10.0.0.1", "Pending"),
        ({}, {**POD_IP, **READY}, "10.0.0.1", "Running"),
        ({}, {"podIP": "fd00::7", **READY}, "fd00::7", "Running"),
        ({}, READY, None, "Pending"),
    ],
)
async def test_a_cluster_runs_when_its_scheduler_listens_and_can_be_reached(world, said, status, routed_to, phase):
    cluster = world.cluster("c1", phase="Pending")
    await world.step(cluster)
    world.becomes("dask-scheduler-c1", "running")
    world.controller.informers["pod"].cache["cms-dask.dask-scheduler-c1"]["status"].update(status)
    cluster["spec"].update(said)
    await world.step(cluster)
    await world.step(cluster)
    slices = [item for item in world.kubernetes.routes if item["kind"] == "EndpointSlice"]
    assert [item["endpoints"][0]["addresses"] for item in slices] == ([] if routed_to is None else [[routed_to]])
    assert cluster["status"]["phase"] == phase


@pytest.mark.parametrize(("address", "address_type"), [("10.0.0.1", "IPv4"), ("fd00::7", "IPv6")])
async def test_a_service_routes_to_its_schedulers_address(world, address, address_type):
    cluster = world.cluster("c1", phase="Pending", **STARTED)
    await world.step(cluster)
    gets_address(world, address)
    await world.step(cluster)
    made = {item["kind"]: item for item in world.kubernetes.routes}
    service, endpoint_slice = made["Service"], made["EndpointSlice"]
    assert endpoint_slice["addressType"] == address_type
    assert endpoint_slice["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"]
    assert owners(endpoint_slice) == ["uid-dask-scheduler-c1"]
    assert {port["name"]: port["port"] for port in endpoint_slice["ports"]} == {
        port["name"]: port["port"] for port in service["spec"]["ports"]
    }


async def test_an_address_that_no_other_machine_has_is_refused(world):
    cluster = world.cluster("c1", phase="Pending", **STARTED)
    await world.step(cluster)
    gets_address(world, "127.0.0.1")
    with pytest.raises(Refusal, match=r"'127\.0\.0\.1' is not the address of a scheduler's machine"):
        await world.step(cluster)
    assert "EndpointSlice" not in {item["kind"] for item in world.kubernetes.routes}


def test_a_cluster_is_reconciled_when_its_scheduler_gets_an_address(world):
    pod = {
        "metadata": {
            "namespace": "cms-dask",
            "name": "s",
            "labels": world.controller.get_labels("c1", "dask-scheduler"),
        },
        "spec": {"containers": []},
        "status": {},
    }
    pod["metadata"]["labels"][names.USER_LABEL] = "alice"
    queued = []
    world.controller.queue.put = queued.append
    world.controller.on_pod_update(pod)
    assert queued == []
    placed = {**pod, "status": {"podIP": "10.0.0.1"}}
    world.controller.on_pod_update(placed, old=pod)
    world.controller.on_pod_update(placed, old=placed)
    assert queued == ["cms-dask.c1"]


async def test_no_new_connection_goes_to_the_scheduler_of_a_cluster_that_ends(world):
    cluster = world.cluster("c1", phase="Pending", **STARTED)
    await world.step(cluster)
    gets_address(world)
    await world.step(cluster)
    assert "EndpointSlice" in {item["kind"] for item in world.kubernetes.routes}
    cluster["spec"]["active"] = False
    await world.step(cluster)
    assert world.kubernetes.deleted == ["dask-scheduler-c1"]
    assert "EndpointSlice" not in {item["kind"] for item in world.kubernetes.routes}


async def test_workers_do_not_wait_until_the_kubelet_tells_that_their_scheduler_runs(world):
    cluster = world.cluster("c1", phase="Pending", replicas=2, **STARTED)
    await world.step(cluster)
    gets_address(world, state="waiting")
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Running"
    await world.step(cluster)
    assert len(world.kubernetes.pods) == 3


async def test_an_endpoint_slice_that_is_there_already_is_taken(world):
    cluster = world.cluster("c1", phase="Pending", **STARTED)
    await world.step(cluster)
    gets_address(world)
    world.kubernetes.refusals.append(conflict("AlreadyExists"))
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Running"


def test_credentials_have_what_upstreams_pods_and_server_look_for(world):
    ours, upstreams = world.controller.make_secret("c1"), KubeController.make_secret(world.controller, "c1")
    assert ours["data"].keys() == upstreams["data"].keys()
    assert ours["metadata"] == {key: upstreams["metadata"][key] for key in ("name", "labels")}


@pytest.mark.weakness(3)
async def test_a_cluster_of_a_system_account_fails_and_leaves_no_credentials(world):
    world.directory.accounts = [Account("alice", 0, 0, ())]
    cluster = world.cluster("c1", phase="Pending")
    await world.step(cluster)
    assert cluster["status"]["reason"].startswith("The account 'alice' has the uid 0 of a system account")
    assert (world.kubernetes.pods, world.kubernetes.secrets) == ({}, set())


async def test_a_cluster_whose_scheduler_ends_fails_with_its_reason(world):
    cluster = world.cluster("c1", phase="Pending")
    await world.step(cluster)
    world.becomes("dask-scheduler-c1", "terminated", phase="Failed")
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Failed"
    assert cluster["status"]["reason"] == "The scheduler ended before it was ready (Unknown, exit code 1)."


async def test_a_running_cluster_whose_scheduler_ends_fails_with_its_reason(world):
    cluster = await world.running("c1")
    world.becomes("dask-scheduler-c1", "terminated", phase="Failed")
    await world.step(cluster)
    assert (cluster["status"]["phase"], cluster["status"]["reason"]) == (
        "Failed",
        "The scheduler ended (Unknown, exit code 1).",
    )


async def test_a_stopped_cluster_leaves_nothing_whatever_its_status_knows(world):
    cluster = world.cluster("c1", phase="Pending")
    await world.step(cluster)
    cluster["status"] = {}
    cluster["spec"]["active"] = False
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Stopped"
    assert world.kubernetes.deleted == ["dask-scheduler-c1"]


@pytest.mark.parametrize("kind", [FacilityKubeController, KubeController])
async def test_a_scheduler_whose_creation_met_a_conflict_is_made_later(testbed_site, kind):
    world = World(testbed_site, kind, is_strict=kind is FacilityKubeController)
    cluster = world.cluster("c1", phase="Pending")
    world.kubernetes.refusals.append(conflict("Conflict"))
    if kind is KubeController:
        await world.step(cluster)
    else:
        with pytest.raises(ApiException):
            await world.step(cluster)
    await world.step(cluster)
    assert ("dask-scheduler-c1" in world.kubernetes.pods) is (kind is FacilityKubeController)
