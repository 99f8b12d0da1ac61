"""The polls of squeue: clusters whose scheduler's job has ended, orphans, and when the watcher polls."""

import asyncio

import pytest
from dask_gateway_server.backends.db_base import JobStatus

from gateway.slurm.job_watcher import IDLE_POLLS, IDLE_SECONDS, POLL_SECONDS
from gateway.slurm.queries import CommandError
from gateway.slurm.records import GONE
from tests.unit.slurm.world import cluster_in, listed, squeue


async def test_jobs_that_nobody_remembers_are_cancelled(running, launcher, testbed_site, tmp_path):
    release = testbed_site.slurm.release
    known = cluster_in(running, testbed_site, status=JobStatus.RUNNING, state={"job_id": "1"})
    running.db.update_worker(running.db.create_worker(known), state={"job_id": "2_0"})
    ended = cluster_in(running, testbed_site, status=JobStatus.STOPPED, target=JobStatus.STOPPED, state=GONE)
    busy = cluster_in(running, testbed_site, status=JobStatus.CREATED)
    running.submitting.add(busy.name)
    unknown = "f" * 32
    squeue(
        running,
        tmp_path,
        listed("1", "RUNNING", comment=f"{release}/{known.name}")
        + listed("2_0", "RUNNING", comment=f"{release}/{known.name}")
        + listed("2_1", "RUNNING", comment=f"{release}/{known.name}")
        + listed("3", "PENDING", "Resources", comment=f"{release}/{ended.name}")
        + listed("4", "RUNNING", comment=f"{release}/{busy.name}")
        + listed("5_0", "RUNNING", user="bob", uid=20002, comment=f"{release}/{unknown}")
        + listed("5_1", "PENDING", user="bob", uid=20002, comment=f"{release}/{unknown}")
        + listed("6", "COMPLETING", comment=f"{release}/{unknown}")
        + listed("7", "CANCELLED", comment=f"{release}/{unknown}")
        + listed("8", "RUNNING", comment=f"another/{unknown}")
        + listed("9", "RUNNING", comment="")
        + listed("10", "RUNNING", comment=f"{release}/{unknown}; more"),
    )
    await running.job_watcher.poll()
    assert {(asked["cluster"], *asked["jobs"]) for asked in launcher.asked} == {
        (known.name, "2_1"),
        (ended.name, "3"),
        (unknown, "5_0", "5_1"),
    }
    assert not any(asked["remove"] for asked in launcher.asked)
    assert known.target == JobStatus.RUNNING


@pytest.mark.parametrize("said", [listed("1", "OUT_OF_MEMORY"), listed("2", "RUNNING"), ""], ids=repr)
async def test_a_cluster_whose_schedulers_job_has_ended_ends(running, launcher, testbed_site, tmp_path, said):
    cluster = cluster_in(running, testbed_site, status=JobStatus.RUNNING, state={"job_id": "1"})
    squeue(running, tmp_path, said)
    await running.job_watcher.poll()
    assert cluster.target == JobStatus.FAILED


async def waits_of_polls(running, monkeypatch, *, fails=(), polls=10):
    """How long the watcher waits before each of some polls; those in ``fails`` fail."""
    waited, begins, ended = [], [], 0.0

    async def sleep(seconds):
        waited.append(seconds)

    async def wait_for(awaitable, seconds):
        waiting = asyncio.ensure_future(awaitable)
        await real_wait([waiting], timeout=0.01)
        if not waiting.done():
            waiting.cancel()
            waited.append(seconds)
            raise TimeoutError

    async def poll():
        nonlocal ended
        begins.append(sum(waited) - ended)
        ended = sum(waited)
        if len(begins) == polls:
            raise asyncio.CancelledError
        if len(begins) in fails:
            raise CommandError("slurmctld is away")

    real_wait = asyncio.wait
    monkeypatch.setattr(running.job_watcher, "poll", poll)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(asyncio, "wait_for", wait_for)
    with pytest.raises(asyncio.CancelledError):
        await running.job_watcher.run()
    return begins


@pytest.mark.parametrize("status", [None, JobStatus.STOPPED])
async def test_the_queue_is_seldom_looked_at_without_clusters(running, testbed_site, monkeypatch, status):
    if status is not None:
        cluster_in(running, testbed_site, status=status)
    waits = await waits_of_polls(running, monkeypatch)
    assert waits == [POLL_SECONDS] * IDLE_POLLS + [POLL_SECONDS + IDLE_SECONDS] * (10 - IDLE_POLLS)


async def test_looks_that_fail_do_not_count(running, monkeypatch):
    waits = await waits_of_polls(running, monkeypatch, fails=(2, 5))
    assert waits == [POLL_SECONDS] * (5 + IDLE_POLLS) + [POLL_SECONDS + IDLE_SECONDS] * (5 - IDLE_POLLS)


async def test_the_queue_is_looked_at_always_while_there_is_a_cluster(running, testbed_site, monkeypatch):
    cluster_in(running, testbed_site, status=JobStatus.RUNNING)
    assert await waits_of_polls(running, monkeypatch) == [POLL_SECONDS] * 10


async def test_no_cluster_ends_because_slurm_does_not_answer(running, launcher, testbed_site, tmp_path):
    cluster = cluster_in(running, testbed_site, status=JobStatus.RUNNING, state={"job_id": "1"})
    squeue(running, tmp_path, "Unable to contact slurm controller", code=1)
    with pytest.raises(CommandError):
        await running.job_watcher.poll()
    assert cluster.target == JobStatus.RUNNING
