"""The addresses of schedulers on SLURM come from their jobs' nodes."""

import asyncio

import pytest
from aiohttp import web
from dask_gateway_server.backends.db_base import JobStatus

from gateway.errors import Refusal
from gateway.service import scheduler_reports
from tests.unit.service.test_heartbeats import GOOD
from tests.unit.slurm.world import cluster_in, squeue

FORGED = {
    "scheduler_address": "tls://127.0.0.1:40001",
    "dashboard_address": "http://hub:40002",
    "api_address": "http://169.254.169.254:40003",
}


@pytest.fixture
async def starting(running, testbed_site, tmp_path, monkeypatch):
    """Alice's cluster, whose scheduler's job runs on a node, and the back end."""

    async def addresses(name, *_, **__):
        if name not in NODES:
            raise OSError("unknown")
        return [(None, None, None, "", (NODES[name], 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses)
    running._heartbeats = scheduler_reports.Pace()
    squeue(running, tmp_path, "", of_one={"7": "20001|RUNNING|hammer-a000\n"})
    return cluster_in(running, testbed_site, status=JobStatus.SUBMITTED, state={"job_id": "7"})


NODES = {"hammer-a000": "172.30.0.23", "localhost": "127.0.0.1", "submission": "172.30.0.20"}


@pytest.mark.parametrize("said", [GOOD, GOOD | FORGED])
async def test_a_scheduler_is_where_its_job_runs(running, starting, said):
    await running.on_cluster_heartbeat(starting.name, said)
    assert (starting.scheduler_address, starting.dashboard_address, starting.api_address) == (
        "tls://172.30.0.23:40001",
        "http://172.30.0.23:40002",
        "http://172.30.0.23:40003",
    )


@pytest.mark.parametrize(
    "said",
    [
        {"scheduler_address": ""},
        {"scheduler_address": "tls://10.0.0.1:22"},
        {"api_address": "http://10.0.0.1:8088"},
        {"dashboard_address": "http://10.0.0.1:8000"},
        {"dashboard_address": "file:///etc/passwd"},
        {"dashboard_address": 123},
    ],
)
async def test_an_impossible_address_is_refused(running, starting, said):
    with pytest.raises(Refusal):
        await running.on_cluster_heartbeat(starting.name, GOOD | said)
    assert (starting.scheduler_address, starting.dashboard_address, starting.api_address) == ("", "", "")


@pytest.mark.parametrize(
    "line",
    [
        "20002|RUNNING|hammer-a000\n",
        "20001|PENDING|\n",
        "20001|RUNNING|localhost\n",
        "20001|RUNNING|submission\n",
        "20001|RUNNING|unknown\n",
        "20001|RUNNING|-x\n",
        "",
    ],
)
async def test_without_a_node_of_its_own_a_scheduler_is_nowhere(running, starting, tmp_path, line):
    squeue(running, tmp_path, "", of_one={"7": line})
    with pytest.raises(Refusal):
        await running.on_cluster_heartbeat(starting.name, GOOD)
    assert starting.scheduler_address == ""


async def test_a_scheduler_without_a_dashboard_has_none(running, starting):
    await running.on_cluster_heartbeat(starting.name, GOOD | {"dashboard_address": ""})
    assert starting.dashboard_address == ""
    assert starting.scheduler_address == "tls://172.30.0.23:40001"


async def test_a_heartbeat_requests_no_more_workers_than_the_site_allows(running, starting, testbed_site):
    await running.on_cluster_heartbeat(starting.name, GOOD | {"count": 100_000})
    assert starting.count == testbed_site.slurm.maximum_workers.per_cluster


@pytest.mark.parametrize("field", ["active_workers", "closing_workers", "closed_workers", None])
async def test_a_heartbeat_names_all_workers_that_run(running, starting, field):
    running.db.update_cluster(starting, status=JobStatus.RUNNING)
    worker = running.db.create_worker(starting)
    running.db.update_worker(worker, status=JobStatus.RUNNING)
    said = GOOD | ({field: [worker.name]} if field else {})
    if field is None:
        with pytest.raises(Refusal, match=f"leaves out the worker {worker.name}"):
            await running.on_cluster_heartbeat(starting.name, said)
    else:
        await running.on_cluster_heartbeat(starting.name, said)


async def test_heartbeats_without_distance_are_refused(running, starting):
    running.db.update_cluster(starting, status=JobStatus.RUNNING)
    for _ in range(scheduler_reports.BURST):
        await running.on_cluster_heartbeat(starting.name, GOOD)
    with pytest.raises(web.HTTPTooManyRequests):
        await running.on_cluster_heartbeat(starting.name, GOOD)
