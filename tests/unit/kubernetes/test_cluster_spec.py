"""DaskClusters in the hands of a compromised API server."""

import contextlib
import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refusal
from gateway.kubernetes import cluster_spec
from gateway.request.environments import PATH_MAX
from gateway.request.quota import Resources
from gateway.site import GIB
from tests.unit.hostile import json_values, many
from tests.unit.kubernetes.samples import ALICE, DAVE, spec_of
from tests.unit.kubernetes.world import World

FORGED_CONFIG = {
    "image": "attacker/image",
    "worker_extra_pod_config": {"securityContext": {"runAsUser": 20001}},
    "scheduler_extra_pod_config": {
        "securityContext": {"runAsUser": 20001},
        "volumes": [{"name": "x", "secret": {"secretName": "hub-token-dask-gateway-k8s"}}],
    },
}


def cluster_of(spec, name="c1"):
    return {"metadata": {"name": name, "namespace": "cms-dask"}, "spec": spec}


def test_a_request_survives_the_way_through_the_object(testbed_site):
    for request in (ALICE, DAVE):
        cluster = cluster_of(spec_of(testbed_site, request))
        cluster_spec.check(cluster)
        made = cluster_spec.request_of(cluster, request.account, testbed_site)
        for field in ("username", "user_class", "account", "environment", "worker_cores", "worker_memory_bytes"):
            assert getattr(made, field) == getattr(request, field)
        assert cluster_spec.worker_resources(cluster) == Resources(2000, 4 * GIB, workers=1)


def test_the_object_of_a_directorys_user_names_no_account(testbed_site):
    assert "account" not in spec_of(testbed_site, ALICE)
    assert spec_of(testbed_site, DAVE)["account"] == {"uid": 30001, "gid": 30000}


@pytest.fixture(scope="module")
def spec(testbed_site):
    return spec_of(testbed_site, ALICE)


FIELDS = ("username", "options", "account", "active", "replicas", "lastClient", "started")


@pytest.mark.finding("R6")
@many
@given(field=st.sampled_from(FIELDS), value=json_values)
def test_any_field_of_any_kind_is_taken_or_refused(testbed_site, spec, field, value):
    cluster = cluster_of({**spec, field: value})
    with contextlib.suppress(Refusal):
        cluster_spec.check(cluster)
        cluster_spec.named_account(cluster)
        cluster_spec.worker_resources(cluster)
        cluster_spec.request_of(cluster, ALICE.account, testbed_site)


@pytest.mark.finding("R6")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", 7),
        ("username", "a" * 64),
        ("options", None),
        ("options", {"worker_cores": "1", "worker_memory": 1}),
        ("options", {"worker_cores": 1, "worker_memory": float("inf")}),
        ("account", {"uid": "20001", "gid": 20000}),
        ("account", {"uid": 0, "gid": 20000}),
        ("active", "yes"),
        ("replicas", -1),
        ("replicas", 2**40),
        ("lastClient", "yesterday"),
        ("lastClient", "2026-11-25T12:00:00"),
        ("started", 5),
    ],
)
async def test_a_malformed_object_fails_with_its_field(world, field, value):
    cluster = world.cluster("c1", phase="Pending", **{field: value})
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Failed"
    assert f"spec.{field}" in cluster["status"]["reason"]
    assert world.kubernetes.pods == {}


@pytest.mark.parametrize("spec", [None, [], {}])
async def test_an_object_without_a_spec_fails(world, spec):
    cluster = {**world.cluster("c1", phase="Pending"), "spec": spec}
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Failed"


@pytest.mark.parametrize("name", ["a.b", "a" * 64, "`"])
async def test_an_object_with_another_name_fails(world, name):
    cluster = world.cluster(name, phase="Pending")
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Failed"


@pytest.mark.finding("R6")
@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        ({"username": "mallory"}, "The directory has no such account."),
        ({"username": "mallory", "account": {"uid": 20001, "gid": 20000}}, "a uid was named"),
        ({"username": "mallory-cern", "account": {"uid": 20001, "gid": 20000}}, "not that of an account"),
        ({"username": "x-elsewhere.org"}, "The directory has no such account."),
        ({"username": "../alice"}, "is not a user name"),
    ],
)
async def test_nothing_runs_for_a_forged_user(world, forged, reason):
    cluster = world.cluster("c1", phase="Pending", config=FORGED_CONFIG, **forged)
    await world.step(cluster)
    assert reason in cluster["status"]["reason"]
    assert (world.kubernetes.pods, world.kubernetes.secrets) == ({}, set())


@pytest.mark.finding("R6")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"pixi_project": "/etc"}, "is not on storage"),
        ({"pixi_project": "/depot/cms/../../etc"}, "is not on storage"),
        ({"conda_env": "/depot/cms/$(id)"}, "can't be used together"),
        ({"pixi_project": "/depot/cms/" + "a" * PATH_MAX}, "too long"),
        ({"worker_cores": 1000}, "worker_cores must be at most 64"),
        ({"image": "attacker/image"}, "unknown option"),
    ],
)
async def test_options_are_checked_again(world, options, reason):
    spec = spec_of(world.site, ALICE)
    cluster = world.cluster("c1", phase="Pending", options={**spec["options"], **options})
    await world.step(cluster)
    assert reason in cluster["status"]["reason"]
    assert world.kubernetes.pods == {}


@pytest.mark.finding("R6")
async def test_a_forged_configuration_is_not_read(testbed_site):
    plain, forged = World(testbed_site), World(testbed_site)
    for world, spec in ((plain, {}), (forged, {"config": FORGED_CONFIG})):
        cluster = world.cluster("c1", phase="Pending", **copy.deepcopy(spec))
        await world.step(cluster)
    assert forged.kubernetes.pods == plain.kubernetes.pods
    assert plain.kubernetes.pods["dask-scheduler-c1"]["spec"]["securityContext"]["runAsUser"] == 20001


async def test_workers_have_the_directorys_account_and_wait_while_it_has_none(world):
    cluster = await world.running("c1", replicas=2)
    world.directory.up = False
    assert await world.step(cluster) is True
    assert world.workers("c1") == []
    assert cluster["status"]["phase"] == "Running"
    world.directory.up = True
    assert await world.step(cluster) is False
    assert len(world.workers("c1")) == 2
