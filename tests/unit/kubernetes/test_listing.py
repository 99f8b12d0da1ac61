"""The list of a user's clusters, which has the same text as upstream's."""

import gc
import weakref

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from dask_gateway_server.models import Cluster, ClusterStatus, User
from dask_gateway_server.routes import default_routes

from gateway.kubernetes.api.backend import FacilityKubeBackend
from gateway.kubernetes.api.configuration import api_config


class Alice:
    """An authenticator that takes every request with a header for one of alice."""

    async def authenticate_and_handle(self, request, handler):
        if "Authorization" not in request.headers:
            raise web.HTTPUnauthorized
        request["user"] = User("alice")
        return await handler(request)


@pytest.fixture
def clusters(testbed_site):
    """A back end with clusters of alice and bob."""
    made = FacilityKubeBackend(config=api_config(testbed_site), site=testbed_site)
    made.username_to_clusters = {}
    put(made, "cms-dask.a", ClusterStatus.RUNNING, pixi_env="/home/☃")
    put(made, "cms-dask.b", ClusterStatus.PENDING, worker_cores=1.5)
    put(made, "cms-dask.c", ClusterStatus.STOPPED)
    put(made, "cms-dask.d", ClusterStatus.RUNNING, username="bob")
    return made


def put(clusters, name, status, *, username="alice", **options):
    """Store a cluster as upstream does after an event: as a new object each time."""
    credentials = {"tls_cert": b"certificate", "tls_key": b"key", "dashboard_address": "http://there"}
    made = Cluster(name, username, "token", {"env": {}, **options}, {}, status, start_time=1, **credentials)
    clusters.username_to_clusters.setdefault(username, {})[name] = made


@pytest.fixture
async def ask(clusters):
    """Send a request to our API server and to upstream's; return status, type and body, which are the same."""

    async def answers(client, query):
        async with client.get("/api/v1/clusters/", params=query, headers={"Authorization": "jupyterhub a"}) as answer:
            return answer.status, answer.headers["Content-Type"], await answer.text()

    def client_of(setup):
        app = web.Application()
        app.add_routes(default_routes)
        setup(app)
        app["backend"], app["authenticator"] = clusters, Alice()
        return TestClient(TestServer(app))

    async with client_of(clusters.setup_requests) as ours, client_of(lambda _: None) as stock:

        async def asked(**query):
            answer = await answers(ours, query)
            assert answer == await answers(stock, query)
            return answer

        asked.ours = ours
        yield asked


async def test_a_user_sees_the_clusters_that_start_and_run(ask):
    status, _, text = await ask()
    assert status == 200
    assert '"cms-dask.a"' in text
    assert '"cms-dask.b"' in text
    assert '"cms-dask.c"' not in text
    assert '"cms-dask.d"' not in text


async def test_no_cluster_is_an_empty_list(ask, clusters):
    clusters.username_to_clusters.clear()
    assert (await ask())[2] == "{}"


async def test_a_user_may_ask_by_status(ask):
    _, _, text = await ask(status="stopped,pending")
    assert '"cms-dask.a"' not in text
    assert '"cms-dask.c"' in text


@pytest.mark.parametrize("status", ["", "finished", "running,", "running;stopped", "1", "__class__"])
async def test_a_status_that_is_none_is_refused(ask, status):
    assert (await ask(status=status))[0] == 422


async def test_a_cluster_that_changes_is_listed_as_it_is_now(ask, clusters):
    before = await ask()
    put(clusters, "cms-dask.b", ClusterStatus.RUNNING, worker_cores=1.5)
    del clusters.username_to_clusters["alice"]["cms-dask.a"]
    after = await ask()
    assert before != after
    assert '"cms-dask.a"' not in after[2]


async def test_a_cluster_that_has_not_changed_is_written_once(ask, monkeypatch):
    first = await ask()
    monkeypatch.setattr(Cluster, "to_dict", lambda _: pytest.fail("written again"))
    async with ask.ours.get("/api/v1/clusters/", headers={"Authorization": "jupyterhub a"}) as answer:
        assert await answer.text() == first[2]


async def test_only_who_is_known_sees_anything(ask):
    async with ask.ours.get("/api/v1/clusters/") as answer:
        assert answer.status == 401


async def test_nothing_is_kept_of_clusters_that_are_gone(ask, clusters):
    await ask()
    cluster = weakref.ref(clusters.username_to_clusters["alice"]["cms-dask.a"])
    clusters.username_to_clusters.clear()
    gc.collect()
    assert cluster() is None
