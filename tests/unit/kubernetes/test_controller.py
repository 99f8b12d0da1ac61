"""The controller: what it makes, deletes and stores, against a Kubernetes that is kept in memory.

Where upstream's own controller does something else, a test shows that too: so that we notice when it is mended.
"""

import asyncio
import collections
import dataclasses
import itertools
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from aiohttp import ClientConnectionError
from dask_gateway_server.backends.kubernetes.backend import KubeClusterConfig
from dask_gateway_server.backends.kubernetes.controller import ClusterInfo, KubeController
from dask_gateway_server.workqueue import WorkQueue
from kubernetes_asyncio import client
from kubernetes_asyncio.client.rest import ApiException

from gateway.identity.accounts import Account
from gateway.kubernetes import names
from gateway.kubernetes.api import estimate
from gateway.kubernetes.configuration import cluster_config, controller_config
from gateway.kubernetes.connection import message_of
from gateway.kubernetes.controller.controller import MOST_AT_ONCE, FacilityKubeController, StrictClient
from gateway.site import UserTotal
from tests.unit.kubernetes.test_configuration import ALICE, DAVE


class Cache:
    """Upstream's informer, as a cache that tests fill."""

    def __init__(self):
        self.cache = {}

    def get(self, key, default=None):
        return self.cache.get(key, default)


class Kubernetes:
    """Answers for the API server: pods come into being when they are asked for, news of them when the test says so."""

    def __init__(self):
        self.pods, self.deleted, self.secrets, self.statuses = {}, [], set(), {}
        self.refusals = collections.deque()
        self.events = []
        self.api_conditions = [readiness(7200, "True"), None]
        self.led_to = []
        """Services, their addresses, and routes that were asked for."""
        self._numbers = itertools.count()

    def _answer(self):
        if self.refusals:
            refusal = self.refusals.popleft()
            if refusal is not None:
                raise refusal

    async def create_namespaced_pod(self, namespace, pod):
        await asyncio.sleep(0)
        self._answer()
        name = pod["metadata"].get("name") or f"{pod['metadata']['generateName']}{next(self._numbers)}"
        if name in self.pods:
            raise conflict("AlreadyExists")
        self.pods[name] = {
            **pod,
            "metadata": {**pod["metadata"], "name": name, "namespace": namespace, "uid": f"uid-{name}"},
            "status": {"phase": "Pending"},
        }
        return SimpleNamespace(metadata=SimpleNamespace(name=name), pod=self.pods[name])

    async def delete_namespaced_pod(self, name, namespace):
        self._answer()
        if name not in self.pods:
            raise ApiException(status=404)
        self.deleted.append(name)
        self.pods[name]["metadata"]["deletionTimestamp"] = "2026-11-25T00:00:00Z"

    async def create_namespaced_secret(self, namespace, secret):
        self.secrets.add(secret["metadata"]["name"])

    async def delete_namespaced_secret(self, name, namespace):
        if name not in self.secrets:
            raise ApiException(status=404)
        self.secrets.remove(name)

    async def create_namespaced_service(self, namespace, service):
        self.led_to.append({"kind": "Service", **service})

    async def create_namespaced_endpoint_slice(self, namespace, endpoint_slice):
        self._answer()
        self.led_to.append(endpoint_slice)

    async def delete_namespaced_endpoint_slice(self, name, namespace):
        remaining = [
            item for item in self.led_to if (item["kind"], item["metadata"]["name"]) != ("EndpointSlice", name)
        ]
        if len(remaining) == len(self.led_to):
            raise ApiException(status=404)
        assert not self.deleted, "the pod goes after the way to it"
        self.led_to = remaining

    async def create_namespaced_custom_object(self, group, version, namespace, plural, item):
        self.led_to.append(item)

    async def list_namespaced_pod(self, namespace, label_selector):
        assert label_selector.endswith(",app.kubernetes.io/component=api")
        replicas = [client.V1Pod(status=client.V1PodStatus(conditions=item)) for item in self.api_conditions]
        return client.V1PodList(items=replicas)

    async def list_namespaced_event(self, namespace, field_selector):
        assert field_selector.startswith("involvedObject.uid=uid-")
        return {"items": self.events}

    async def patch_namespaced_custom_object_status(self, group, version, namespace, plural, name, changes):
        self.statuses[name] = changes[0]["value"]


def stamp(age):
    return (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")


def readiness(seconds, status):
    """What Kubernetes says of a pod that has become ready, or the contrary, so long ago."""
    return [
        client.V1PodCondition(type="Initialized", status="True"),
        client.V1PodCondition(
            type="Ready", status=status, last_transition_time=datetime.now(UTC) - timedelta(seconds=seconds)
        ),
    ]


def conflict(reason):
    error = ApiException(status=409, reason="Conflict")
    error.body = json.dumps({"reason": reason, "message": "the object has been modified"})
    return error


class World:
    """A controller, the Kubernetes that it talks to, and the clusters of users."""

    def __init__(self, site, kind=FacilityKubeController):
        self.site, self.kubernetes = site, Kubernetes()
        self.controller = kind(config=controller_config(site))
        self.controller.core_client = self.controller.custom_client = self.controller.discovery_client = self.kubernetes
        self.controller.api_client = SimpleNamespace(
            sanitize_for_serialization=lambda found: getattr(found, "pod", found)
        )
        self.controller.informers = {name: Cache() for name in ("cluster", "pod")}
        self.controller.stopped_clusters = {}
        self.controller.queue = WorkQueue()
        self.controller.working_since = asyncio.get_running_loop().time() - 7200
        if kind is KubeController:
            self.controller.cluster_info = collections.defaultdict(ClusterInfo)
            # Upstream's behaviour with our pods: what they are is not what differs here.
            self.controller.make_pod = FacilityKubeController(config=controller_config(site)).make_pod

    def cluster(self, name, request=ALICE, *, replicas=0, age=0, phase="Running", **spec):
        config = KubeClusterConfig(**cluster_config(self.site, request)).to_dict()
        created = datetime.now(UTC) - timedelta(seconds=age)
        cluster = {
            "apiVersion": "gateway.dask.org/v1alpha1",
            "kind": "DaskCluster",
            "metadata": {
                "name": name,
                "namespace": "cms",
                "uid": f"uid-{name}",
                "creationTimestamp": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
            "spec": {
                "username": request.username,
                "options": {},
                "config": config,
                "replicas": replicas,
                **spec,
            },
            "status": {"phase": phase, "schedulerPod": f"dask-scheduler-{name}"} if phase == "Running" else {},
        }
        self.controller.informers["cluster"].cache[f"cms.{name}"] = cluster
        return cluster

    async def running(self, name, request=ALICE, **options):
        """A cluster whose scheduler runs."""
        cluster = self.cluster(name, request, **options)
        pod = self.controller.make_pod("cms", name, SimpleNamespace(**cluster["spec"]["config"]))
        await self.kubernetes.create_namespaced_pod("cms", pod)
        self.becomes(f"dask-scheduler-{name}", "running")
        return cluster

    def becomes(self, name, container=None, phase=None):
        """A pod's container is in this state now, and the controller learns it."""
        pod = self.kubernetes.pods[name]
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        statuses = [{"name": component, "state": {container: {"exitCode": 1}}}] if container else []
        pod["status"] = {
            "phase": phase or ("Running" if container == "running" else "Pending"),
            "containerStatuses": statuses,
        }
        self.news()

    def news(self, *names):
        """The informer of pods tells what has changed (of these pods, or of all)."""
        cache = self.controller.informers["pod"].cache
        for name, pod in list(self.kubernetes.pods.items()):
            if not names or name in names:
                old, new = cache.get(f"cms.{name}"), json.loads(json.dumps(pod))
                cache[f"cms.{name}"] = new
                self.controller.on_pod_update(new, old=old)

    def gone(self, name):
        """A deleted pod has ended."""
        self.kubernetes.pods.pop(name)
        self.controller.on_pod_delete(self.controller.informers["pod"].cache.pop(f"cms.{name}"))

    async def step(self, cluster):
        status, requeue = await self.controller.handle_cluster(cluster)
        if status is not None:
            cluster["status"] = status
        return requeue

    def workers(self, cluster):
        found = [name for name in self.kubernetes.pods if name.startswith(f"dask-worker-{cluster}-")]
        return [name for name in found if "deletionTimestamp" not in self.kubernetes.pods[name]["metadata"]]

    def queued(self):
        return set(self.controller.queue._queue)


@pytest.fixture
async def world(testbed_site):
    return World(testbed_site)


def sized(cores, gib=1, request=ALICE):
    return dataclasses.replace(request, worker_cores=float(cores), worker_memory_bytes=gib * 2**30)


async def test_missing_workers_are_made_once(world):
    cluster = await world.running("c1", replicas=4)
    await world.step(cluster)
    assert len(world.workers("c1")) == 4
    await world.step(cluster)  # before any news
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
    """dask/dask-gateway#252: the bug that the test before is about."""
    world = World(testbed_site, KubeController)
    cluster = await world.running("c1", replicas=4)
    await world.step(cluster)
    world.news()
    cluster["spec"]["replicas"] = 6
    await world.step(cluster)
    assert len(world.workers("c1")) == 4
    world.controller.cluster_info["cms.c1"].timestamp -= 601
    await world.step(cluster)
    assert len(world.workers("c1")) == 10


async def workers_left(world, before, after):
    """How many workers a cluster has that wanted so many, of which none runs yet, and wants so many now."""
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
    """dask/dask-gateway#252: the bug that the test before is about."""
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
    assert "cms.c1" in world.queued()
    await world.step(cluster)
    assert world.kubernetes.deleted == [victim]
    assert len(world.workers("c1")) == 2


@pytest.mark.parametrize("kind", [FacilityKubeController, KubeController])
async def test_a_worker_that_is_gone_already_is_no_fault(testbed_site, kind):
    """Upstream asks the error for ``code``, which does not exist."""
    world = World(testbed_site, kind)
    if kind is KubeController:
        with pytest.raises(AttributeError):
            await world.controller.delete_pod("cms", "w1")
    else:
        assert await world.controller._delete_worker("cms.w1") is True


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
    world.controller.queue = WorkQueue()
    first["spec"]["replicas"] = 5
    world.news()
    await world.step(first)
    await world.step(second)
    assert world.workers("c2") == []  # what is being deleted holds its place
    world.controller.queue = WorkQueue()
    world.gone(world.kubernetes.deleted[0])
    assert "cms.c2" in world.queued()
    await world.step(second)
    assert len(world.workers("c2")) == 1


async def test_waiting_clusters_of_a_user_share_what_becomes_free(world):
    big = await world.running("c1", sized(64), replicas=6)
    await world.step(big)
    others = [await world.running(f"c{number}", sized(10), replicas=30) for number in (2, 3)]
    for cluster in others:
        await world.step(cluster)
    await world.controller.cleanup_cluster_resources({"schedulerPod": "dask-scheduler-c1"}, "cms")
    for name in [*world.workers("c1"), "dask-scheduler-c1"]:
        world.gone(name)
    for cluster in others:
        await world.step(cluster)
    assert {len(world.workers("c2")), len(world.workers("c3"))} == {19, 20}


async def test_the_count_survives_a_restart(world):
    cluster = await world.running("c1", sized(64), replicas=10)
    await world.step(cluster)
    again = World(world.site)
    again.kubernetes = again.controller.core_client = world.kubernetes
    again.controller.informers["cluster"].cache["cms.c1"] = cluster
    again.news()
    await again.step(cluster)
    assert len(again.workers("c1")) == 6


async def test_a_scheduler_needs_room_too(world):
    await world.step(await world.running("c1", sized(57), replicas=7))  # 1 + 7 * 57 = 400
    cluster = world.cluster("c2", phase="Pending")
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Failed"
    assert cluster["status"]["reason"].startswith("There is no room for another cluster: its scheduler needs 1 core")
    assert "cms.c1 (400 cores" in cluster["status"]["reason"]
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
    assert cluster["status"] == {"phase": "Pending", "credentials": "dask-credentials-c2"}
    world.controller.queue = WorkQueue()
    world.gone("dask-scheduler-c1")
    assert "cms.c2" in world.queued()
    await world.step(cluster)
    assert "dask-scheduler-c2" in world.kubernetes.pods
    assert cluster["status"]["phase"] == "Pending"


async def test_a_scheduler_is_made_once_and_counted_at_once(world):
    cluster = world.cluster("c1", phase="Pending")
    await world.step(cluster)
    await world.step(cluster)
    assert list(world.kubernetes.pods) == ["dask-scheduler-c1"]
    assert world.controller.ledger.held("alice")["cms.c1"].millicores == 1000


async def test_all_that_leads_to_a_scheduler_is_made_once_with_its_pod(world):
    cluster = world.cluster("c1", phase="Pending")
    await world.step(cluster)
    await world.step(cluster)
    made = {item["kind"]: item for item in world.kubernetes.led_to}
    assert len(made) == len(world.kubernetes.led_to)
    assert made.keys() == {"Service", "IngressRoute", "IngressRouteTCP"}
    assert {uid for item in made.values() for uid in owners(item)} == {"uid-dask-scheduler-c1"}
    assert "selector" not in made["Service"]["spec"]
    assert cluster["status"]["phase"] == "Pending"


def owners(item):
    return [owner["uid"] for owner in item["metadata"]["ownerReferences"]]


STARTED = {names.STARTED: "2026-11-25T00:00:00Z"}
READY = {"conditions": [{"type": "Ready", "status": "True"}]}
POD_IP = {"podIP": "10.0.0.1"}


@pytest.mark.parametrize(
    ("said", "status", "leads_to", "phase"),
    [
        ({**STARTED, names.ADDRESS: "10.0.0.1"}, {}, "10.0.0.1", "Running"),
        ({**STARTED, names.ADDRESS: "10.0.0.1"}, POD_IP, "10.0.0.1", "Running"),
        (STARTED, POD_IP, "10.0.0.1", "Running"),
        (STARTED, {}, None, "Pending"),
        ({}, POD_IP, "10.0.0.1", "Pending"),
        ({}, {**POD_IP, **READY}, "10.0.0.1", "Running"),
        ({}, {"podIP": "fd00::7", **READY}, "fd00::7", "Running"),
        ({}, READY, None, "Pending"),
    ],
)
async def test_a_cluster_runs_when_its_scheduler_listens_and_can_be_reached(world, said, status, leads_to, phase):
    cluster = world.cluster("c1", phase="Pending")
    await world.step(cluster)
    world.becomes("dask-scheduler-c1", "running")
    world.controller.informers["pod"].cache["cms.dask-scheduler-c1"]["status"].update(status)
    cluster["spec"].update(said)
    await world.step(cluster)
    await world.step(cluster)
    slices = [item for item in world.kubernetes.led_to if item["kind"] == "EndpointSlice"]
    assert [item["endpoints"][0]["addresses"] for item in slices] == ([] if leads_to is None else [[leads_to]])
    assert cluster["status"]["phase"] == phase


@pytest.mark.parametrize(("address", "address_type"), [("10.0.0.1", "IPv4"), ("fd00::7", "IPv6")])
async def test_a_service_leads_to_its_schedulers_address(world, address, address_type):
    cluster = world.cluster("c1", phase="Pending", **STARTED, **{names.ADDRESS: address})
    await world.step(cluster)
    made = {item["kind"]: item for item in world.kubernetes.led_to}
    service, endpoint_slice = made["Service"], made["EndpointSlice"]
    assert endpoint_slice["addressType"] == address_type
    assert endpoint_slice["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"]
    assert owners(endpoint_slice) == ["uid-dask-scheduler-c1"]
    assert {port["name"]: port["port"] for port in endpoint_slice["ports"]} == {
        port["name"]: port["port"] for port in service["spec"]["ports"]
    }


async def test_nobody_is_led_to_the_scheduler_of_a_cluster_that_ends(world):
    cluster = world.cluster("c1", phase="Pending", **STARTED, **{names.ADDRESS: "10.0.0.1"})
    await world.step(cluster)
    assert "EndpointSlice" in {item["kind"] for item in world.kubernetes.led_to}
    cluster["spec"]["active"] = False
    await world.step(cluster)
    assert world.kubernetes.deleted == ["dask-scheduler-c1"]
    assert "EndpointSlice" not in {item["kind"] for item in world.kubernetes.led_to}


async def test_workers_do_not_wait_until_the_kubelet_tells_that_their_scheduler_runs(world):
    cluster = world.cluster("c1", phase="Pending", replicas=2, **STARTED, **{names.ADDRESS: "10.0.0.1"})
    await world.step(cluster)
    world.becomes("dask-scheduler-c1", "waiting")
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Running"
    await world.step(cluster)
    assert len(world.kubernetes.pods) == 3


async def test_an_endpoint_slice_that_is_there_already_is_taken(world):
    cluster = world.cluster("c1", phase="Pending", **STARTED, **{names.ADDRESS: "10.0.0.1"})
    await world.step(cluster)
    world.becomes("dask-scheduler-c1", "running")
    world.kubernetes.refusals.append(conflict("AlreadyExists"))
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Running"


def test_credentials_have_what_upstreams_pods_and_server_look_for(world):
    ours, upstreams = world.controller.make_secret("c1"), KubeController.make_secret(world.controller, "c1")
    assert ours["data"].keys() == upstreams["data"].keys()
    assert ours["metadata"] == {key: upstreams["metadata"][key] for key in ("name", "labels")}


@pytest.mark.weakness(3)
async def test_a_cluster_of_a_system_account_fails_and_leaves_no_credentials(world):
    cluster = world.cluster("c1", dataclasses.replace(ALICE, account=Account("x", 0, 0, ())), phase="Pending")
    await world.step(cluster)
    assert cluster["status"]["reason"] == "The cluster's account is not one of a user."
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


async def test_what_has_not_started_in_time_fails_and_leaves_nothing(world):
    cluster = world.cluster("c1", phase="Pending", age=119)
    world.kubernetes.secrets.add("dask-variables-c1")
    await world.step(cluster)
    world.kubernetes.events = [{"type": "Warning", "reason": "FailedMount", "message": "not a directory"}]
    world.news()
    cluster["metadata"]["creationTimestamp"] = "2026-11-25T00:00:00Z"
    world.controller.lifetime_seconds = 10**9
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Failed"
    assert cluster["status"]["reason"] == ("The cluster did not start within 120 s: not a directory (FailedMount)")
    assert world.kubernetes.deleted == ["dask-scheduler-c1"]
    assert world.kubernetes.secrets == set()


@pytest.mark.parametrize("phase", ["Running", "Pending"])
async def test_the_lifetime_ends_clusters(world, phase):
    young = world.cluster("c1", phase=phase, age=86390)
    old = await world.running("c2", age=86401, lastClient=stamp(5))
    old["status"] = old["status"] if phase == "Running" else {}
    world.controller.start_seconds = 10**9
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
        (_, when) = world.controller.queue._timers["cms.c1"]
        assert when - asyncio.get_running_loop().time() == pytest.approx(3600 - (age if said is None else said), abs=2)


@pytest.mark.parametrize(
    ("replicas", "working_seconds", "left"),
    [
        pytest.param([], 7200, 30, id="no replica of the API"),
        pytest.param([(7200, "False")], 7200, 30, id="none that is ready"),
        pytest.param([(5, "True"), (20, "True")], 7200, 10, id="ready again for a short time"),
        pytest.param([(7200, "True")], 10, 20, id="a controller that has just begun"),
        pytest.param([(5, "True"), (40, "True")], 40, None, id="all back"),
    ],
)
async def test_nobody_is_taken_for_gone_who_could_not_be_reported(world, replicas, working_seconds, left):
    cluster = await world.running("c1", age=80000, lastClient=stamp(3700))
    world.kubernetes.api_conditions = [None, *(readiness(*replica) for replica in replicas)]
    world.controller.working_since = asyncio.get_running_loop().time() - working_seconds
    await world.step(cluster)
    assert cluster["status"]["phase"] == ("Stopped" if left is None else "Running")
    if left is not None:
        (_, when) = world.controller.queue._timers["cms.c1"]
        assert when - asyncio.get_running_loop().time() == pytest.approx(left, abs=2)


async def test_bounds_of_time_are_looked_at_in_time(world):
    await world.step(world.cluster("c1", phase="Pending", age=100))
    ((_, when),) = world.controller.queue._timers.values()
    assert 17 < when - asyncio.get_running_loop().time() < 21


def test_the_guides_bounds_of_time(geddes_site):
    controller = FacilityKubeController(config=controller_config(geddes_site))
    assert (controller.start_seconds, controller.lifetime_seconds) == (120, 86400)
    assert controller.client_gone_seconds == 3600
    total = estimate.total_of(controller.gateway, "purdue")
    assert (total.cores, total.memory_gib) == (400, 800)


async def test_a_stopped_cluster_leaves_nothing_whatever_its_status_knows(world):
    cluster = world.cluster("c1", phase="Pending")
    await world.step(cluster)
    cluster["status"] = {}
    cluster["spec"]["active"] = False
    await world.step(cluster)
    assert cluster["status"]["phase"] == "Stopped"
    assert world.kubernetes.deleted == ["dask-scheduler-c1"]


async def test_the_last_status_is_the_last(world):
    """The informer may show a cluster as running for a while after it was ended."""
    cluster = await world.running("c1", active=False)
    before = json.loads(json.dumps(cluster))
    await world.controller.reconcile_cluster("cms.c1")
    assert world.kubernetes.statuses["c1"]["phase"] == "Stopped"
    world.kubernetes.statuses.clear()
    world.controller.informers["cluster"].cache["cms.c1"] = {**before, "spec": {**before["spec"], "active": True}}
    world.gone("dask-scheduler-c1")
    await world.controller.reconcile_cluster("cms.c1")
    assert world.kubernetes.statuses == {}


@pytest.mark.weakness(33)
@pytest.mark.parametrize("active", [True, False])
async def test_variables_go_when_a_cluster_ends(world, active):
    cluster = await world.running("c1", active=active)
    world.kubernetes.secrets.add("dask-variables-c1")
    await world.step(cluster)
    assert ("dask-variables-c1" in world.kubernetes.secrets) is active


class Unlimited:
    async def acquire(self):
        pass


@pytest.mark.parametrize(("reason", "status"), [("AlreadyExists", 409), ("Conflict", 503), (None, 503)])
async def test_only_what_exists_is_a_conflict(world, reason, status):
    """Upstream takes each conflict for an object that exists: a scheduler that was refused would never be made."""
    client = StrictClient(world.kubernetes, Unlimited())
    world.kubernetes.refusals.append(conflict(reason))
    with pytest.raises(ApiException) as caught:
        await client.create_namespaced_pod("cms", {"metadata": {"name": "x"}})
    assert caught.value.status == status


@pytest.mark.parametrize("kind", [FacilityKubeController, KubeController])
async def test_a_scheduler_whose_creation_met_a_conflict_is_made_later(testbed_site, kind):
    world = World(testbed_site, kind)
    if kind is FacilityKubeController:
        world.controller.core_client = StrictClient(world.kubernetes, Unlimited())
    cluster = world.cluster("c1", phase="Pending")
    world.kubernetes.refusals.append(conflict("Conflict"))
    if kind is KubeController:
        await world.step(cluster)
    else:
        with pytest.raises(ApiException):
            await world.step(cluster)
    await world.step(cluster)
    assert ("dask-scheduler-c1" in world.kubernetes.pods) is (kind is FacilityKubeController)


def test_errors_of_kubernetes_are_told_in_its_words():
    assert message_of(conflict("Conflict")) == "the object has been modified"
    assert message_of(ApiException(status=500, reason="Oops")) == "500 Oops"
