"""A scheduler's reports to the gateway: a real scheduler, and real clients in processes that are killed."""

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
    """Start a process that subscribes to the scheduler as ``GatewayCluster`` does, without a client."""
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
        async with Client(scheduler.address, asynchronous=True) as second:
            await until(there.is_there)
        await until(lambda: second.id not in scheduler.clients)
        assert there.is_there()
    await until(lambda: not there.is_there())


async def test_a_notebook_that_only_has_the_cluster_is_there_until_it_is_killed(scheduler):
    comms, watch = [], scheduler.handlers[preload.WATCHING]
    scheduler.handlers[preload.WATCHING] = lambda comm=None: comms.append(comm) or watch(comm=comm)
    there = preload.Presence(scheduler)
    with watching_notebook(scheduler.address) as first, watching_notebook(scheduler.address) as second:
        for process in (first, second):
            assert await asyncio.to_thread(process.stdout.readline) == "there\n"
        assert there.is_there()
        second.kill()
        await until(lambda: sorted(comm.closed() for comm in comms) == [False, True])
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
    """Counts the reports that the gateway accepts; it may be down."""

    def __init__(self):
        self.accepted, self.is_down = 0, False

    async def __call__(self):
        if self.is_down:
            raise OSError("down")
        self.accepted += 1


class Steps:
    """Time that passes only in sleeps, of which each ends when the test says so."""

    def __init__(self):
        self.now = 0.0
        self._sleeps, self._goes_on = asyncio.Event(), asyncio.Event()

    def clock(self):
        return self.now

    async def sleep(self, seconds):
        self._sleeps.set()
        await self._goes_on.wait()
        self._goes_on.clear()
        self.now += seconds

    async def until_asleep(self):
        await self._sleeps.wait()

    async def step(self, count=1):
        """End a sleep, and wait for the next sleep."""
        for _ in range(count):
            self.end_sleep()
            await self.until_asleep()

    def end_sleep(self):
        self._sleeps.clear()
        self._goes_on.set()


@contextlib.asynccontextmanager
async def running(steps, coroutine):
    task = asyncio.ensure_future(coroutine)
    try:
        await steps.until_asleep()
        yield task
    finally:
        task.cancel()


@contextlib.asynccontextmanager
async def reporting(seconds):
    reports, steps, who = Reports(), Steps(), SimpleNamespace(there=False, is_there=lambda: who.there)
    coroutine = preload.report_while_connected(who, reports, seconds, steps.sleep, steps.clock)
    async with running(steps, coroutine):
        yield reports, who, steps


async def test_a_connected_client_is_reported_again_and_again():
    async with reporting(3 * preload.POLL_SECONDS) as (reports, who, steps):
        who.there = True
        accepted = []
        for _ in range(7):
            await steps.step()
            accepted.append(reports.accepted)
        assert accepted == [1, 1, 1, 2, 2, 2, 3]


async def test_the_end_of_a_connection_is_reported_once():
    async with reporting(1000) as (reports, who, steps):
        await steps.step(5)
        assert reports.accepted == 0
        who.there = True
        await steps.step(5)
        assert reports.accepted == 1
        who.there = False
        await steps.step(5)
        assert reports.accepted == 2


async def test_a_gateway_that_is_away_is_told_later(caplog):
    async with reporting(1000) as (reports, who, steps):
        who.there = True
        await steps.step()
        for outage in (1, 2):
            who.there = True
            await steps.step()
            reports.is_down, who.there = True, False
            await steps.step(3)
            assert reports.accepted == outage
            reports.is_down = False
            await steps.step(3)
            assert reports.accepted == 1 + outage
            assert caplog.text.count("does not accept") == outage


async def test_a_start_is_reported_until_the_gateway_has_taken_it():
    reports, steps = Reports(), Steps()
    reports.is_down = True
    async with running(steps, preload.report_start(reports, steps.sleep)) as task:
        await steps.step(3)
        assert not task.done()
        reports.is_down = False
        steps.end_sleep()
        await task
        assert reports.accepted == 1


class Gateway:
    """The gateway as upstream's preload calls it: it records heartbeats."""

    token = "secret"

    def __init__(self):
        self.heartbeats = []

    async def heartbeat(self, message):
        self.heartbeats.append(message)


async def test_the_first_heartbeat_does_not_wait(scheduler):
    gateway, steps = Gateway(), Steps()
    async with running(steps, preload.hasten_heartbeat(scheduler, steps.sleep)) as hastened:
        await steps.step(2)
        service = GatewaySchedulerService(scheduler, gateway=gateway)
        service.heartbeat_initial = 1000
        service.listen(("127.0.0.1", 0))
        try:
            await until(lambda: service.waiter.task is not None)
            steps.end_sleep()
            await hastened
            await until(lambda: gateway.heartbeats)
            assert gateway.heartbeats[0]["scheduler_address"] == scheduler.address
        finally:
            service.stop()


async def test_a_scheduler_without_heartbeats_is_left_alone(scheduler):
    await preload.hasten_heartbeat(scheduler)


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
        start = ("cms.c1", "token secret", {})
        assert starts == ([start] if wanted else [])
    finally:
        scheduler.gateway_reports.cancel()
        await runner.cleanup()


def test_upstreams_options_stay_upstreams():
    command = ["start", "scheduler", "--port", "0", "--preload", "dask_gateway.scheduler_preload", "--dg-x", "1"]
    expected = [*command[:4], "--preload", "/p.py", *command[4:]]
    assert scheduler_reports.with_preload(command, "/p.py") == expected
