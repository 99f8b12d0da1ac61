"""Test the file of the routes, and how the back end keeps it."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from dask_gateway_server.backends.db_base import DBBackendBase, JobStatus
from dask_gateway_server.proxy import Proxy

from gateway.slurm import records
from gateway.slurm.proxy.route_file import RouteFile
from tests.unit.slurm.world import cluster_in

ONE, OTHER = "1" * 32, "2" * 32
SERVER = "http://127.0.0.1:8088"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "routes.yml"


@pytest.fixture
def routes(path):
    return RouteFile(path, SERVER, {"submission"}, "secret of {}".format)


def found(path):
    return json.loads(path.read_text())


def names(path):
    """Return the clusters with a route to their dashboard, and those with one to their scheduler."""
    content = found(path)
    return set(content["http"]["routers"]) - {"server"}, set(content["tcp"]["routers"]) - {"unknown"}


def cluster(name, **values):
    addresses = {"scheduler_address": "tls://node1:40001", "dashboard_address": "http://node1:40002"}
    return SimpleNamespace(name=name, status=JobStatus.RUNNING, **(addresses | values))


async def add(routes, name):
    await routes.add_route(kind="PATH", path=f"/clusters/{name}", target="http://node1:40002")
    await routes.add_route(kind="SNI", sni=name, target="tls://node1:40001")


async def test_routes_are_in_the_file_when_they_are_added_and_gone_when_they_are_removed(routes, path):
    await add(routes, ONE)
    await add(routes, OTHER)
    assert names(path) == ({ONE, OTHER}, {ONE, OTHER})
    await routes.remove_route(kind="PATH", path=f"/clusters/{ONE}")
    assert names(path) == ({OTHER}, {ONE, OTHER})
    for _ in range(2):
        await routes.remove_route(kind="SNI", sni=ONE)
    assert names(path) == ({OTHER}, {OTHER})


async def test_simultaneous_changes_are_all_in_the_file(routes, path):
    several = [f"{number:032x}" for number in range(20)]
    await asyncio.gather(*(add(routes, name) for name in several))
    assert names(path) == (set(several), set(several))


async def test_the_file_replaces_another_one_and_only_its_group_may_read_it(routes, path):
    path.write_text("{}")
    with path.open() as old:
        await add(routes, ONE)
        assert old.read() == "{}", "a reader of the old file reads all of it"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "route",
    [
        {"kind": "SNI", "sni": ONE, "target": "tls://submission:8000"},
        {"kind": "SNI", "sni": ONE, "target": "http://node1:40001"},
        {"kind": "SNI", "sni": "*", "target": "tls://node1:40001"},
        {"kind": "PATH", "path": "/", "target": "http://node1:40001"},
        {"kind": "PATH", "path": f"/clusters/{ONE}", "target": 123},
        {"kind": "HOST", "sni": ONE, "target": "tls://node1:40001"},
        {"kind": "SNI", "sni": ONE},
    ],
)
async def test_a_wrong_route_is_refused_and_harms_no_other(routes, path, route):
    with pytest.raises(ValueError, match=r"is not|address"):
        await routes.add_route(**route)
    await add(routes, OTHER)
    assert names(path) == ({OTHER}, {OTHER})


async def test_a_write_that_failed_is_made_by_the_next_call(routes, path):
    path.mkdir()
    with pytest.raises(OSError, match="routes"):
        await add(routes, ONE)
    path.rmdir()
    await add(routes, ONE)
    assert names(path) == ({ONE}, {ONE})


async def test_a_restart_writes_all_living_clusters_at_once(routes, path):
    wrong = cluster("3" * 32, scheduler_address="tls://127.0.0.1:8088")
    await routes.restore([wrong, cluster(ONE), cluster(OTHER, dashboard_address="")])
    assert names(path) == ({ONE}, {ONE, OTHER})


async def test_a_site_names_the_file_the_server_and_the_hosts_that_no_route_reaches(testbed_site, path):
    slurm = testbed_site.slurm.model_copy(update={"routes_file": str(path), "submission_host": "host.example"})
    routes = RouteFile.of(slurm)
    await routes.restore([])
    assert names(path) == ({"plain-dashboards", "plain-dashboards-https", "server-https"}, set())
    servers = found(path)["http"]["services"]["server"]["loadBalancer"]["servers"]
    assert servers == [{"url": f"http://127.0.0.1:{slurm.api_port}"}]
    for host in ("host.example", "host", slurm.submission_address):
        with pytest.raises(ValueError, match="is not that of a compute node"):
            await routes.add_route(kind="SNI", sni=ONE, target=f"tls://{host}:8000")


def test_the_back_end_keeps_its_own_proxy(running):
    running.proxy = Proxy(parent=running)
    assert isinstance(running.proxy, RouteFile)


async def test_the_back_end_restores_the_routes_of_living_clusters_first(running, routes, path, monkeypatch):
    order = []

    async def upstream(_):
        order.append(names(path))

    monkeypatch.setattr(DBBackendBase, "do_setup", upstream)
    running.proxy = routes
    ended, starting = cluster(OTHER), cluster("3" * 32, scheduler_address="", dashboard_address="")
    ended.status = JobStatus.STOPPED
    running.db.name_to_cluster = {item.name: item for item in (cluster(ONE), ended, starting)}
    await running.do_setup()
    assert order == [({ONE}, {ONE})]


async def test_a_cluster_runs_when_its_routes_are_written(running, routes, path, monkeypatch):
    seen = []

    async def upstream(_, item):
        seen.append(names(path))

    monkeypatch.setattr(DBBackendBase, "_cluster_to_running", upstream)
    running.proxy = routes
    item = cluster(ONE, added_to_proxies=False)
    await running._cluster_to_running(item)
    assert seen == [({ONE}, {ONE})]
    assert item.added_to_proxies


async def test_a_cluster_with_a_wrong_address_fails_and_leaves_no_route(running, routes, path, testbed_site):
    running.proxy = routes
    await add(routes, OTHER)
    item = cluster_in(running, testbed_site, state=records.GONE)
    wrong = {"scheduler_address": "tls://submission:8000", "dashboard_address": "http://node1:40002"}
    running.db.update_cluster(item, status=JobStatus.SUBMITTED, **wrong)
    for _ in range(3):
        await running.reconcile_cluster(item)
    assert item.status == JobStatus.FAILED
    assert names(path) == ({OTHER}, {OTHER})
