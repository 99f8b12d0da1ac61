"""The polls of squeue: clusters whose scheduler's job has ended, orphans, and when the watcher polls."""

import asyncio
import logging

import pytest
from dask_gateway_server.backends.db_base import JobStatus

from gateway.slurm import launcher_client
from gateway.slurm.job_watcher import IDLE_POLLS, IDLE_SECONDS, MOST_ASKED, POLL_SECONDS
from gateway.slurm.jobs import Owner
from gateway.slurm.queries import CommandError
from gateway.slurm.records import GONE
from tests.unit.slurm.world import cluster_in, listed, owned, squeue

UNKNOWN = "f" * 32


async def test_jobs_that_no_record_knows_are_cancelled(running, launcher, testbed_site, tmp_path):
    release = testbed_site.slurm.release
    known = cluster_in(running, testbed_site, status=JobStatus.RUNNING, state={"job_id": "1"})
    running.db.update_worker(running.db.create_worker(known), state={"job_id": "2_0"})
    ended = cluster_in(running, testbed_site, status=JobStatus.STOPPED, target=JobStatus.STOPPED, state=GONE)
    busy = cluster_in(running, testbed_site, status=JobStatus.CREATED)
    running.submitting.add(busy.name)
    bobs = owned(UNKNOWN, release, "bob", 20002)
    asked = squeue(
        running,
        tmp_path,
        listed("1", "RUNNING")
        + listed("2_0", "RUNNING")
        + listed("2_1", "RUNNING")
        + listed("3", "PENDING")
        + listed("4", "RUNNING")
        + listed("5_0", "RUNNING", 20002)
        + listed("5_1", "PENDING", 20002)
        + listed("6", "COMPLETING")
        + listed("7", "CANCELLED")
        + listed("8", "RUNNING", 20003),
        of_one={
            "2_1": owned(known.name, release),
            "3": owned(ended.name, release),
            "4": owned(busy.name, release),
            "5_0": bobs,
            "8": owned(UNKNOWN, "another", "carol", 20003),
        },
    )
    await running.job_watcher.poll()
    assert {(asked["cluster"], *asked["jobs"]) for asked in launcher.asked} == {
        (known.name, "2_1"),
        (ended.name, "3"),
        (UNKNOWN, "5_0", "5_1"),
    }
    assert not any(asked["remove"] for asked in launcher.asked)
    assert known.target == JobStatus.RUNNING
    await running.job_watcher.poll()
    assert sum("--jobs=8 " in line for line in asked()) == 1


FORGED = [
    "20002|20000|bob|{release}|/depot/cms/users/alice/.dask-gateway/{victim}",
    "20002|20000|bob|{release}|/tmp",
    "20002|20000|bob|{release}|/depot/cms/users/bob/.dask-gateway/{victim}\n1|FAILED|20001",
    "20002|20000|bob|{release}|/depot/cms/users/bob/.dask-gateway/{victim}/..",
    "20001|20000|alice|{release}|/depot/cms/users/alice/.dask-gateway/{victim}",
    "20002|20000|bob|{release}\n20001|20000|alice|{release}|/depot/cms/users/alice/.dask-gateway/{victim}",
    "20002|20000|bob|x|{release}|/depot/cms/users/bob/.dask-gateway/{victim}",
]
"""What squeue could print of a job of bob's, who chooses its comment and its working directory."""


@pytest.mark.parametrize("said", FORGED)
async def test_a_forged_job_harms_no_other_user(running, launcher, testbed_site, tmp_path, said):
    victim = cluster_in(running, testbed_site, status=JobStatus.RUNNING, state={"job_id": "1"})
    text = said.format(release=testbed_site.slurm.release, victim=victim.name)
    squeue(running, tmp_path, listed("1", "RUNNING") + listed("9", "RUNNING", 20002), of_one={"9": text})
    await running.job_watcher.poll()
    assert launcher.asked == []
    assert victim.target == JobStatus.RUNNING


async def test_the_launcher_acts_as_the_user_of_the_forged_job(running, launcher, testbed_site, tmp_path, monkeypatch):
    """Bob's job may name alice's cluster: the launcher, as bob, finds that it is none of that cluster's jobs."""
    victim = cluster_in(running, testbed_site, status=JobStatus.RUNNING, state={"job_id": "1"})
    owners = []

    async def act(owner, *_, **__):
        owners.append(owner)

    monkeypatch.setattr(launcher_client, "act", act)
    text = owned(victim.name, testbed_site.slurm.release, "bob", 20002)
    squeue(running, tmp_path, listed("1", "RUNNING") + listed("9", "RUNNING", 20002), of_one={"9": text})
    await running.job_watcher.poll()
    assert owners == [Owner(victim.name, "bob", 20002, 20000)]


async def test_a_user_with_many_jobs_delays_no_other(running, launcher, testbed_site, tmp_path):
    release = testbed_site.slurm.release
    many = {str(number): owned(UNKNOWN, "another", "bob", 20002) for number in range(100, 110)}
    asked = squeue(
        running,
        tmp_path,
        "".join(listed(number, "RUNNING", 20002) for number in many) + listed("9", "RUNNING"),
        of_one={**many, "9": owned(UNKNOWN, release)},
    )
    await running.job_watcher.poll()
    assert sum("--jobs=1" in line for line in asked()) == MOST_ASKED
    assert [asked["jobs"] for asked in launcher.asked] == [["9"]]


async def test_lines_that_are_no_rows_are_dropped_and_logged_once(running, launcher, testbed_site, tmp_path, caplog):
    cluster = cluster_in(running, testbed_site, status=JobStatus.RUNNING, state={"job_id": "1"})
    squeue(running, tmp_path, "x|None\n1|FAILED|alice\n" + listed("1", "RUNNING") + "1|FAILED\n")
    running.log = logging.getLogger("watched")
    for _ in range(3):
        await running.job_watcher.poll()
    assert cluster.target == JobStatus.RUNNING
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "squeue prints 3 lines that are not rows of jobs"
    ]


@pytest.mark.parametrize(
    "said", [listed("1", "OUT_OF_MEMORY"), listed("2", "RUNNING"), listed("1", "RUNNING", 20002), ""], ids=repr
)
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
