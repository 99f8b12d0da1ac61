"""Replicas of the API server: each knows the clusters of the others, and answers waiting clients when it stops."""

import asyncio
from base64 import b64encode
from collections import defaultdict
from types import SimpleNamespace

import pytest
from aiohttp import ClientSession, web
from dask_gateway_server.backends.kubernetes.backend import KubeBackend
from dask_gateway_server.backends.kubernetes.utils import Informer
from dask_gateway_server.models import ClusterStatus
from dask_gateway_server.utils import Flag
from dask_gateway_server.workqueue import WorkQueue
from kubernetes_asyncio.client.rest import ApiException

from gateway.errors import Refusal
from gateway.kubernetes.api.backend import FacilityKubeBackend
from gateway.kubernetes.api.configuration import api_config

NAME = "0123456789abcdef0123456789abcdef"
FULL_NAME = f"cms-dask.{NAME}"


class Kubernetes:
    """Kubernetes' API server with clusters and their Secrets."""

    def __init__(self):
        self.clusters, self.reads, self.changes, self.is_up = {}, 0, [], True

    def put(self, *, phase="Running", release="dask-gateway-k8s", name=NAME):
        version = str(len(self.clusters) + self.reads + 1)
        status = {"phase": phase, "service": f"dask-{name}", "credentials": "credentials"}
        self.clusters[name] = {
            "metadata": {
                "name": name,
                "namespace": "cms-dask",
                "labels": {"gateway.dask.org/instance": release},
                "resourceVersion": version,
                "creationTimestamp": "2026-11-25T00:00:00Z",
            },
            "spec": {"username": "alice"},
            "status": status if phase == "Running" else {"phase": phase},
        }

    async def get_namespaced_custom_object(self, group, version, namespace, plural, name):
        assert (group, version, namespace, plural) == ("gateway.dask.org", "v1alpha1", "cms-dask", "daskclusters")
        self.reads += 1
        if not self.is_up or name not in self.clusters:
            raise ApiException(status=404 if self.is_up else 503)
        return self.clusters[name]

    async def patch_namespaced_custom_object(self, *arguments):
        self.changes.append(arguments[-2:])

    async def read_namespaced_secret(self, name, namespace):
        data = {key: b64encode(key.encode()).decode() for key in ("dask.crt", "dask.pem", "api-token")}
        return SimpleNamespace(data=data)


def replica(site, kubernetes, kind=FacilityKubeBackend):
    """Return an API server whose informer gets no events."""
    made = kind(config=api_config(site))
    made.custom_client = made.core_client = kubernetes
    made.cluster_waiters, made.clusters = defaultdict(Flag), {}
    made.username_to_clusters, made.queue = defaultdict(dict), WorkQueue()
    made.informer = Informer(parent=made, on_update=made.on_cluster_event, on_delete=made.on_cluster_event)
    made.informer.cache = {}
    return made


@pytest.fixture
def kubernetes():
    return Kubernetes()


@pytest.fixture
async def api(testbed_site, kubernetes):
    return replica(testbed_site, kubernetes)


async def test_a_cluster_that_another_replica_has_made_is_known(api, kubernetes):
    kubernetes.put()
    found = await api.get_cluster(FULL_NAME)
    assert (found.status, found.username, found.token) == (ClusterStatus.RUNNING, "alice", "api-token")
    assert [cluster.name for cluster in await api.list_clusters("alice")] == [FULL_NAME]


async def test_upstreams_replica_does_not_know_it(testbed_site, kubernetes):
    kubernetes.put()
    stock = replica(testbed_site, kubernetes, kind=KubeBackend)
    assert await stock.get_cluster(FULL_NAME) is None


async def test_a_cluster_that_another_replica_has_seen_start_runs(api, kubernetes):
    kubernetes.put(phase="Pending")
    assert (await api.get_cluster(FULL_NAME)).status is ClusterStatus.PENDING
    kubernetes.put()
    assert (await api.get_cluster(FULL_NAME)).api_address == f"http://dask-{NAME}.cms-dask:8788"


async def test_a_running_cluster_is_not_asked_for_again(api, kubernetes):
    kubernetes.put()
    for _ in range(3):
        await api.get_cluster(FULL_NAME)
    assert kubernetes.reads == 1


async def test_a_cluster_that_starts_and_was_deleted_is_forgotten(api, kubernetes):
    kubernetes.put(phase="Pending")
    await api.get_cluster(FULL_NAME)
    del kubernetes.clusters[NAME]
    assert await api.get_cluster(FULL_NAME) is None
    assert await api.list_clusters("alice") == []


async def test_a_cluster_of_another_gateway_is_none_of_ours(api, kubernetes):
    kubernetes.put(release="another")
    assert await api.get_cluster(FULL_NAME) is None
    assert not api.clusters


@pytest.mark.parametrize(
    "name",
    [
        "",
        "cms-dask",
        "cms-dask.",
        f"other.{NAME}",
        f"cms-dask.{NAME}/status",
        "cms-dask..",
        "cms-dask.a.b",
        "cms-dask.A",
    ],
)
async def test_what_is_no_name_of_ours_is_not_asked_for(api, kubernetes, name):
    assert await api.get_cluster(name, wait=True) is None
    assert kubernetes.reads == 0
    assert not api.cluster_waiters


async def test_what_is_known_counts_while_kubernetes_does_not_answer(api, kubernetes):
    kubernetes.put(phase="Pending")
    await api.get_cluster(FULL_NAME)
    kubernetes.is_up = False
    assert (await api.get_cluster(FULL_NAME)).status is ClusterStatus.PENDING
    assert await api.get_cluster("cms-dask.unknown") is None


@pytest.mark.parametrize(("kind", "stops"), [(KubeBackend, True), (FacilityKubeBackend, False)])
async def test_a_scheduler_that_one_replica_does_not_reach_is_not_dead(testbed_site, kubernetes, kind, stops):
    """Upstream's back end stops the cluster."""
    kubernetes.put()
    api = replica(testbed_site, kubernetes, kind=kind)
    api.informer.cache[FULL_NAME] = kubernetes.clusters[NAME]
    await api.sync_cluster(FULL_NAME)
    api.scheduler_api_retries = 1
    async with ClientSession() as api.session:
        api.clusters[FULL_NAME].api_address = "http://127.0.0.1:9"
        with pytest.raises(Exception, match="is not running" if stops else "does not answer now: try again") as caught:
            await api.forward_message_to_scheduler(api.clusters[FULL_NAME], {"op": "scale", "count": 1})
    assert isinstance(caught.value, Refusal) is not stops
    assert bool(kubernetes.changes) is stops


async def test_who_waits_for_a_cluster_is_answered_when_the_server_ends(api, kubernetes):
    """Upstream's API server cuts the client off: clients wait for up to 20 s, and the server has 15 s to end."""
    kubernetes.put(phase="Pending")

    arrived = asyncio.Event()

    async def waited(_):
        arrived.set()
        cluster = await api.get_cluster(FULL_NAME, wait=True)
        return web.json_response(cluster.to_dict(full=False)["status"])

    app = web.Application()
    app.router.add_get("/", waited)
    app.on_shutdown.append(api.answer_waiting_clients)
    runner = web.AppRunner(app, shutdown_timeout=5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (address, port, *_) = runner.addresses[0]
    async with ClientSession() as session:
        answer = asyncio.ensure_future(session.get(f"http://{address}:{port}/"))
        await arrived.wait()
        await runner.cleanup()
        assert await (await answer).json() == "PENDING"


def test_each_replica_has_a_cookie_of_its_own(testbed_site):
    """With one name, each replica would overwrite the cookies of the others, and ask JupyterHub at each request."""
    assert "cookie_name" not in api_config(testbed_site).HubAuthenticator
