"""Timeouts of clusters, the reasons that users read, and the end of clusters."""

import asyncio
from types import SimpleNamespace

import pytest
from aiohttp import web
from dask_gateway_server.backends.db_base import JobStatus
from dask_gateway_server.backends.jobqueue import slurm
from dask_gateway_server.utils import timestamp

from gateway.slurm import backend as slurm_backend
from gateway.slurm.launcher_client import LauncherError
from gateway.slurm.queries import CommandError
from tests.unit.slurm.world import DAY, HOUR, OPTIONS, SECOND, STAGING, Proxy, cluster_in, listed, squeue


def log_of(cluster):
    return f"{STAGING}/logs/{cluster.name}/dask-scheduler-{cluster.name}.log"


@pytest.mark.parametrize(
    ("age", "said", "up", "stopped"),
    [
        (59 * 60 * SECOND, None, DAY, False),
        (HOUR + SECOND, None, DAY, True),
        (20 * HOUR, HOUR - 60 * SECOND, DAY, False),
        (20 * HOUR, HOUR + SECOND, DAY, True),
        (20 * HOUR, None, 60 * SECOND, False),
        (20 * HOUR, None, HOUR + SECOND, True),
        (DAY + SECOND, 0, DAY, True),
    ],
    ids=["young", "never used", "used", "left", "gateway just restarted", "not used since the restart", "too old"],
)
async def test_old_and_lonely_clusters_are_stopped(running, testbed_site, monkeypatch, age, said, up, stopped):
    now = 10 * DAY
    monkeypatch.setattr(slurm_backend, "timestamp", lambda: now)
    cluster = cluster_in(running, testbed_site, status=JobStatus.RUNNING, start_time=now - age)
    cluster.last_heartbeat = now
    monkeypatch.setattr("dask_gateway_server.backends.db_base.timestamp", lambda: now)
    running._started, running._last_client = now - up, {"gone": 0}
    if said is not None:
        monkeypatch.setattr(slurm_backend, "timestamp", lambda: now - said)
        await running.note_client(cluster.name)
        monkeypatch.setattr(slurm_backend, "timestamp", lambda: now)
    await running._check_timeouts()
    assert (cluster.target == JobStatus.STOPPED) is stopped
    assert "gone" not in running._last_client


async def test_all_jobs_are_looked_at_in_one_call(running, testbed_site, tmp_path):
    states = {"1": "RUNNING", "2_0": "PENDING", "3": "TIMEOUT", "4": "SUSPENDED", "6_1": "OUT_OF_MEMORY"}
    foreign = listed("7", "RUNNING", uid=20002)
    asked = squeue(running, tmp_path, "".join(map(listed, states.keys(), states.values())) + foreign)
    numbers = ["1", "2_0", "3", "4", "5", "7"]
    clusters = [cluster_in(running, testbed_site, state={"job_id": number}) for number in numbers]
    assert await running._do_check(clusters) == [True, True, False, True, False, False]
    (arguments,) = asked()
    assert arguments == "--noheader --array --states=all --name=dask-gateway --format=%i|%T|%U"


async def test_no_job_ends_because_slurm_does_not_answer(running, testbed_site, tmp_path):
    squeue(running, tmp_path, "Unable to contact slurm controller", code=1)
    with pytest.raises(CommandError, match="Unable to contact slurm controller"):
        await running.do_check_clusters([cluster_in(running, testbed_site, state={"job_id": "1"})])


async def test_clusters_end_at_their_lifetime_while_slurm_does_not_answer(running, testbed_site, tmp_path):
    squeue(running, tmp_path, "Unable to contact slurm controller", code=1)
    late = cluster_in(running, testbed_site, status=JobStatus.SUBMITTED, state={"job_id": "1"}, start_time=0)
    old = cluster_in(running, testbed_site, status=JobStatus.RUNNING, state={"job_id": "2"}, start_time=0)
    old.last_heartbeat = timestamp()
    await running._check_timeouts()
    assert JobStatus.RUNNING not in (late.target, old.target)


async def test_nothing_is_looked_after_until_a_cluster_is_made(running, launcher, alice):
    """Each of upstream's three loops waits without a cluster, and continues when one is created."""
    checks = [running._check_timeouts(), running.do_check_clusters([]), running.do_check_workers([])]
    waiting = [asyncio.ensure_future(check) for check in checks]
    _, pending = await asyncio.wait(waiting, timeout=0.05)
    assert pending == set(waiting)
    await running.start_cluster(alice, OPTIONS)
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == [None, [], []]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            listed("7", "PENDING"),
            "the scheduler's job waits in SLURM's queue (Resources). Try again later.",
        ),
        (
            listed("7", "RUNNING"),
            "the scheduler's job is RUNNING, but the scheduler does not answer; its log is {log}.",
        ),
        (listed("8", "RUNNING"), "the scheduler's job has ended; its log is {log}."),
        (listed("7", "OUT_OF_MEMORY"), "the scheduler's job has ended (OUT_OF_MEMORY); its log is {log}."),
    ],
)
async def test_who_waits_is_told_why_nothing_starts(running, testbed_site, tmp_path, line, reason):
    squeue(running, tmp_path, line, of_one={"7": "Resources\n"})
    running.reasons["gone"] = "x"
    cluster = cluster_in(running, testbed_site, status=JobStatus.SUBMITTED, state={"job_id": "7"})
    await running._check_timeouts()
    assert (cluster.target, running.reasons) == (JobStatus.RUNNING, {})

    running.db.update_cluster(cluster, start_time=cluster.start_time - 121 * SECOND)
    await running._check_timeouts()
    assert cluster.target == JobStatus.FAILED
    running.db.update_cluster(cluster, status=JobStatus.FAILED)
    cluster.ready.set()
    failed = await running.get_cluster(cluster.name, wait=True)
    with pytest.raises(web.HTTPConflict) as caught:
        failed.to_dict()
    assert caught.value.reason == f"The cluster did not start within 120 s: {reason.format(log=log_of(cluster))}"
    assert (await running.get_cluster(cluster.name)).to_dict()["name"] == cluster.name


async def test_a_scheduler_whose_job_ended_early_is_told_with_its_log(running, testbed_site, tmp_path):
    squeue(running, tmp_path, "")
    accounting = tmp_path / "sacct"
    accounting.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\necho "OUT_OF_MEMORY|0:125"\n')
    accounting.chmod(0o755)
    running.accounting_command = str(accounting)
    cluster = cluster_in(running, testbed_site, state={"job_id": "7"})
    assert await running.do_check_clusters([cluster]) == [False]
    how = "(OUT_OF_MEMORY, exit code 0:125)"
    expected = f"The scheduler's job ended before it was ready {how}; its log is {log_of(cluster)}."
    assert "--jobs=7 " in (tmp_path / "asked").read_text()
    assert running.reason_of(cluster.name) == expected


async def test_a_stopped_cluster_has_its_job_cancelled_and_its_folder_removed(running, launcher, testbed_site):
    cluster = cluster_in(running, testbed_site)
    await running.do_stop_cluster(cluster)
    cluster.state = {"job_id": "7"}
    jobs = {"8_0": JobStatus.CLOSING, "8_1": JobStatus.CLOSING, "8_2": JobStatus.STOPPED, "9_0": JobStatus.STOPPED}
    cluster.workers = {
        number: SimpleNamespace(state={"job_id": number}, status=status) for number, status in jobs.items()
    }
    cluster.workers["never submitted"] = SimpleNamespace(state={}, status=JobStatus.CLOSING)
    await running.do_stop_cluster(cluster)
    cancelled = [(asked["action"], asked["jobs"], asked["remove"]) for asked in launcher.asked]
    assert cancelled == [("cancel", [], True), ("cancel", ["7", "8"], True)]


async def test_a_cluster_that_is_stopped_before_it_is_looked_at_loses_its_job(running, launcher, alice):
    running.proxy = Proxy()
    cluster = running.db.get_cluster(await running.start_cluster(alice, OPTIONS))
    assert cluster.status == JobStatus.CREATED
    await running.stop_cluster(cluster.name)
    for _ in range(2):
        await running.reconcile_cluster(cluster)
    assert cluster.status == JobStatus.STOPPED
    (cancelled,) = [asked for asked in launcher.asked if asked["action"] == "cancel"]
    assert (cancelled["jobs"], cancelled["remove"]) == (["7"], True)


def record_of(running, site, kind, **values):
    """A cluster that ends, or a worker that ends, in the database."""
    cluster = cluster_in(running, site)
    item = cluster if kind == "cluster" else running.db.create_worker(cluster)
    update = running.db.update_cluster if kind == "cluster" else running.db.update_worker
    update(item, status=JobStatus.CLOSING, target=JobStatus.STOPPED, state={"job_id": "7"}, **values)
    running.proxy = Proxy()
    return item


@pytest.mark.parametrize("kind", ["cluster", "worker"])
async def test_a_cancel_that_failed_is_tried_again(running, launcher, testbed_site, kind):
    item = record_of(running, testbed_site, kind)
    stop = running.reconcile_cluster if kind == "cluster" else running.reconcile_worker
    launcher.answers["cancel"] = LauncherError("slurmctld is away")
    with pytest.raises(LauncherError):
        await stop(item)
    assert item.status == JobStatus.CLOSING
    del launcher.answers["cancel"]
    await stop(item)
    assert item.status == JobStatus.STOPPED
    assert [asked["jobs"] for asked in launcher.asked] == [["7"], ["7"]]


@pytest.mark.parametrize("kind", ["cluster", "worker"])
async def test_upstream_forgets_a_job_that_it_could_not_cancel(running, launcher, testbed_site, kind):
    """The bug that makes our own ``_cluster_to_stopped`` and ``_worker_to_stopped`` necessary."""
    item = record_of(running, testbed_site, kind)
    launcher.answers["cancel"] = LauncherError("slurmctld is away")
    await getattr(slurm.SlurmBackend, f"_{kind}_to_stopped")(running, item)
    assert item.status == JobStatus.STOPPED
