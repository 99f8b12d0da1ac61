"""Test the metrics of the gateway's processes: event loop lag, requests by route, and the server of the metrics."""

import asyncio
import collections
import selectors
import socket
import urllib.error
import urllib.request

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from dask_gateway_server.routes import default_routes
from prometheus_client import REGISTRY

from gateway import settings
from gateway.kubernetes.__main__ import Api, Controller
from gateway.kubernetes.api.backend import FacilityKubeBackend
from gateway.kubernetes.api.configuration import api_config
from gateway.kubernetes.controller.configuration import controller_config
from gateway.service import metrics, middleware
from gateway.service.metrics import Measured
from gateway.site import Backend
from gateway.slurm.__main__ import SlurmGateway
from gateway.slurm.configuration import server_config
from tests.unit.service import held


def lag(part):
    return REGISTRY.get_sample_value(f"dask_gateway_event_loop_lag_seconds_{part}")


class Clock:
    """A clock whose time passes only where a test lets it."""

    now = 0.0

    def __call__(self):
        return self.now

    def pass_seconds(self, seconds):
        self.now += seconds


def lag_of(clock, main):
    """Return the seconds that a loop with this clock observes while it runs a coroutine."""
    before = lag("sum")
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(metrics.MeasuredSelector(clock))) as runner:
        runner.run(main)
    return lag("sum") - before


def test_a_blocked_loop_is_seen():
    clock = Clock()

    async def blocking():
        await asyncio.sleep(0)
        clock.pass_seconds(0.3)
        await asyncio.sleep(0)

    assert lag_of(clock, blocking()) == pytest.approx(0.3)


def test_an_idle_loop_is_not_late(monkeypatch):
    clock, select = Clock(), selectors.DefaultSelector.select

    def wait(selector, timeout=None):
        clock.pass_seconds(timeout or 0)
        return select(selector, timeout)

    monkeypatch.setattr(selectors.DefaultSelector, "select", wait)
    assert lag_of(clock, asyncio.sleep(0.01)) == pytest.approx(0)
    assert clock.now > 0


def test_the_loops_of_processes_are_measured():
    before = lag("count")
    with asyncio.Runner(loop_factory=metrics.MeasuredLoops().new_event_loop) as runner:
        runner.run(asyncio.sleep(0))
    assert lag("count") > before


def requests_seen():
    """Return (method, route, status) -> count."""
    return collections.Counter(
        {
            tuple(sample.labels[label] for label in ("method", "route", "status")): int(sample.value)
            for family in metrics.REQUESTS.collect()
            for sample in family.samples
            if sample.name.endswith("_count")
        }
    )


@pytest.fixture
async def client():
    async def answer(request):
        match request.match_info["cluster_name"]:
            case "fails":
                raise ValueError
            case "refused":
                raise web.HTTPForbidden
        return web.Response()

    app = web.Application(middlewares=[middleware.measure])
    app.router.add_get("/api/v1/clusters/{cluster_name}", answer)
    async with TestClient(TestServer(app)) as made:
        yield made


@pytest.mark.parametrize(
    ("method", "path", "seen"),
    [
        ("GET", "/api/v1/clusters/cms.c1", ("GET", "/api/v1/clusters/{cluster_name}", "2xx")),
        ("GET", "/api/v1/clusters/refused", ("GET", "/api/v1/clusters/{cluster_name}", "4xx")),
        ("GET", "/api/v1/clusters/fails", ("GET", "/api/v1/clusters/{cluster_name}", "5xx")),
        ("GET", "/alice", ("any", "none", "4xx")),
        ("PROPFIND", "/api/v1/clusters/cms.c1", ("any", "none", "4xx")),
    ],
)
async def test_requests_are_seen_by_route_and_never_by_name(client, method, path, seen):
    before = requests_seen()
    await client.request(method, path)
    assert dict(requests_seen() - before) == {seen: 1}


@pytest.fixture
def api_app(testbed_site):
    app = web.Application()
    app.add_routes(default_routes)
    FacilityKubeBackend(config=api_config(testbed_site), site=testbed_site).setup_requests(app)
    return app


async def test_the_apis_own_address_has_no_metrics_and_its_requests_are_seen(api_app):
    before = requests_seen()
    async with TestClient(TestServer(api_app)) as client:
        assert (await client.get("/metrics")).status == 404
        assert (await client.get("/api/version")).status == 500, "no gateway belongs to it"
    assert dict(requests_seen() - before) == {("any", "none", "4xx"): 1, ("GET", "/api/version", "5xx"): 1}


def test_processes_serve_metrics_where_the_site_says(testbed_site):
    configurations = {Api: api_config, Controller: controller_config, SlurmGateway: server_config}
    addresses = {kind: kind(config=make(testbed_site)).metrics_address for kind, make in configurations.items()}
    assert addresses == {Api: ":9464", Controller: ":9464", SlurmGateway: "127.0.0.1:8089"}
    assert {kind.kind for kind in (Api, Controller)} == {Backend.KUBERNETES}
    assert SlurmGateway.kind is Backend.SLURM


def read(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{settings.METRICS_PATH}", timeout=10) as answer:
        return answer.read().decode()


class Upstream:
    async def setup(self):
        self.runs = True

    async def cleanup(self):
        self.runs = False


class Process(Measured, Upstream):
    kind = Backend.KUBERNETES


async def test_metrics_are_served_while_the_process_runs_even_when_its_loop_is_blocked():
    process = Process(metrics_address="127.0.0.1:0")
    await process.setup()
    address, port = process.metrics_server.server_address
    assert process.runs
    assert address == "127.0.0.1"
    assert 'dask_gateway_start_failures_total{backend="kubernetes",cause="image"}' in read(port)
    await process.cleanup()
    assert not process.runs
    with pytest.raises(urllib.error.URLError):
        read(port)


@pytest.mark.finding("R2")
async def test_a_port_that_systemd_holds_outlives_the_process():
    with socket.create_server(("127.0.0.1", 0)) as port:
        address = port.getsockname()
        for _ in range(2):
            with held.passed(port):
                process = Process(metrics_address=f"127.0.0.1:{address[1]}")
                await process.setup()
                assert "dask_gateway_event_loop_lag" in await asyncio.to_thread(read, address[1])
                await process.cleanup()
            with pytest.raises(OSError, match="in use"):
                socket.create_server(address)


async def test_a_taken_port_is_an_error_and_what_never_began_can_end():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = Process(metrics_address=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(OSError, match="in use"):
            await process.setup()
    await process.cleanup()
