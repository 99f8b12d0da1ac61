"""What a scheduler tells the gateway of its clients: a real scheduler, real clients in processes that are killed."""

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web
from dask_gateway.scheduler_preload import GatewaySchedulerService
from distributed import Client, Scheduler

from gateway.as_user import preload
from gateway.service import scheduler_reports

PROGRAM = Path(preload.__file__)


@pytest.fixture
async def scheduler():
    async with Scheduler(dashboard_address="127.0.0.1:0", host="127.0.0.1", port=0) as running:
        yield running


async def until(condition):
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not within 10 s")


@contextlib.contextmanager
def watching_notebook(address):
    """A process that has the cluster as ``GatewayCluster`` has it, without a client."""
    code = (
        "import asyncio\nfrom distributed.comm import connect\n"
        "async def watch():\n"
        f"    comm = await connect({address!r})\n"
        f"    await comm.write({{'op': {preload.WATCHING!r}}})\n"
        "    await comm.read()\n    print('there', flush=True)\n    await asyncio.sleep(60)\n"
        "asyncio.run(watch())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_nobody_is_there_at_first(scheduler):
    assert not preload.Presence(scheduler).is_there()


async def test_clients_are_there_until_they_close(scheduler):
    there = preload.Presence(scheduler)
    async with Client(scheduler.address, asynchronous=True):
        async with Client(scheduler.address, asynchronous=True):
            await until(there.is_there)
        await asyncio.sleep(0.2)
        assert there.is_there()
    await until(lambda: not there.is_there())


async def test_a_notebook_that_only_has_the_cluster_is_there_until_it_is_killed(scheduler):
    there = preload.Presence(scheduler)
    with watching_notebook(scheduler.address) as first, watching_notebook(scheduler.address) as second:
        for process in (first, second):
            assert await asyncio.to_thread(process.stdout.readline) == "there\n"
        assert there.is_there()
        second.kill()
        await asyncio.sleep(1)
        assert there.is_there(), "the first one still is"
        first.kill()
        await until(lambda: not there.is_there())


@pytest.mark.parametrize(
    ("name", "is_notebook"),
    [("Client-1f2e", True), ("Client-worker-1f2e", False), ("fire-and-forget", False)],
)
def test_clients_of_tasks_do_not_count(name, is_notebook):
    assert preload.is_notebook(name) is is_notebook


class Reports:
    """Counts what the gateway is told; it may be away."""

    def __init__(self):
        self.told, self.is_away = 0, False

    async def __call__(self):
        if self.is_away:
            raise OSError("away")
        self.told += 1


@contextlib.asynccontextmanager
async def reporting(seconds):
    reports, who = Reports(), SimpleNamespace(there=False, is_there=lambda: who.there)
    task = asyncio.ensure_future(preload.report_while_connected(who, reports, seconds, look_seconds=0.01))
    try:
        yield reports, who
    finally:
        task.cancel()


async def test_a_connected_client_is_reported_again_and_again():
    async with reporting(0.05) as (reports, who):
        who.there = True
        await until(lambda: reports.told > 3)


async def test_the_end_of_a_connection_is_reported_once():
    async with reporting(1000) as (reports, who):
        await asyncio.sleep(0.1)
        assert reports.told == 0
        who.there = True
        await until(lambda: reports.told == 1)
        who.there = False
        await until(lambda: reports.told == 2)
        await asyncio.sleep(0.1)
        assert reports.told == 2


async def test_a_gateway_that_is_away_is_told_later(caplog):
    async with reporting(1000) as (reports, who):
        who.there = True
        await until(lambda: reports.told == 1)
        for outage in (1, 2):
            who.there = True
            await asyncio.sleep(0.1)
            reports.is_away, who.there = True, False
            await asyncio.sleep(0.1)
            reports.is_away = False
            await until(lambda told=1 + outage: reports.told == told)
            assert caplog.text.count("does not take") == outage


async def test_a_start_is_reported_until_the_gateway_has_taken_it():
    reports = Reports()
    reports.is_away = True
    task = asyncio.ensure_future(preload.report_start(reports, again_seconds=0.01))
    await asyncio.sleep(0.1)
    assert not task.done()
    reports.is_away = False
    await asyncio.wait_for(task, 10)
    await asyncio.sleep(0.1)
    assert reports.told == 1


class Gateway:
    """What upstream's preload sends heartbeats to."""

    token = "secret"

    def __init__(self):
        self.heartbeats = []

    async def heartbeat(self, message):
        self.heartbeats.append(message)


async def test_the_first_heartbeat_does_not_wait(scheduler):
    gateway = Gateway()
    hastened = asyncio.ensure_future(preload.hasten_heartbeat(scheduler))
    await asyncio.sleep(2 * preload.LOOK_FOR_HEARTBEAT_SECONDS)
    service = GatewaySchedulerService(scheduler, gateway=gateway)
    service.heartbeat_initial = 1000
    service.listen(("127.0.0.1", 0))
    try:
        await asyncio.wait_for(hastened, 10)
        await until(lambda: gateway.heartbeats)
        assert gateway.heartbeats[0]["scheduler_address"] == scheduler.address
    finally:
        service.stop()


async def test_a_scheduler_without_heartbeats_is_left_alone(scheduler):
    await asyncio.wait_for(preload.hasten_heartbeat(scheduler), 10)


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_scheduler_reports_with_its_clusters_token(scheduler, tmp_path, monkeypatch, wanted):
    requests, starts = [], []

    def taker(taken):
        async def take(request):
            body = await request.json()
            taken.append((request.match_info["cluster_name"], request.headers["Authorization"], body))
            return web.Response()

        return take

    app = web.Application()
    app.router.add_post(scheduler_reports.CLIENTS, taker(requests))
    app.router.add_post(scheduler_reports.START, taker(starts))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    (tmp_path / "token").write_text("secret")
    for name, value in {
        "DASK_GATEWAY_API_URL": f"http://127.0.0.1:{port}/api",
        "DASK_GATEWAY_API_TOKEN": str(tmp_path / "token"),
        "DASK_GATEWAY_CLUSTER_NAME": "cms.c1",
        preload.REPORT_SECONDS: "1000",
        **({preload.REPORT_START: "1"} if wanted else {}),
    }.items():
        monkeypatch.setenv(name, value)
    preload.dask_setup(scheduler)
    try:
        async with Client(scheduler.address, asynchronous=True):
            await until(lambda: requests)
        assert requests[0] == ("cms.c1", "token secret", {})
        start = ("cms.c1", "token secret", {preload.ADDRESS: "127.0.0.1"})
        assert starts == ([start] if wanted else [])
    finally:
        scheduler.gateway_reports.cancel()
        await runner.cleanup()


def test_upstreams_options_stay_upstreams():
    command = ["start", "scheduler", "--port", "0", "--preload", "dask_gateway.scheduler_preload", "--dg-x", "1"]
    expected = [*command[:4], "--preload", "/p.py", *command[4:]]
    assert scheduler_reports.with_preload(command, "/p.py") == expected
