"""Workers: submitted as arrays, granted by the user total, failed and cancelled together."""

import asyncio
import functools

import pytest
from dask_gateway_server.backends.db_base import JobStatus
from dask_gateway_server.backends.db_base import workers as workers_table
from dask_gateway_server.backends.jobqueue import slurm

from gateway.errors import Refusal
from gateway.site import MaximumWorkers, UserTotal
from gateway.slurm.backend import FacilitySlurmBackend
from gateway.slurm.launcher_client import LauncherError
from tests.unit.slurm.world import OPTIONS, cluster_in, listed, squeue


async def test_workers_that_slurm_does_not_take_are_submitted_later(running, launcher, testbed_site):
    cluster = cluster_in(running, testbed_site, status=JobStatus.RUNNING, count=3, scheduler_address="tls://node:1")
    cluster.added_to_proxies = True
    launcher.answers["submit"] = LauncherError("Unable to contact slurm controller")
    for _ in range(5):
        await running.reconcile_cluster(cluster)
    assert (cluster.target, running.queue.later) == (JobStatus.RUNNING, [cluster] * 5)
    assert {worker.status for worker in cluster.workers.values()} == {JobStatus.CREATED}
    assert running.advice_of_scaling(cluster.name, 3) == (
        "SLURM takes no workers of your cluster at the moment: Unable to contact slurm controller."
        " The gateway submits them as soon as SLURM takes jobs again."
    )

    del launcher.answers["submit"]
    launcher.asked.clear()
    for worker in list(cluster.workers.values()):
        await running.reconcile_worker(worker)
    await running.reconcile_cluster(cluster)
    await running.reconcile_cluster(cluster)
    assert [asked["options"]["array"] for asked in launcher.asked] == ["0-2"]
    assert [worker.state["job_id"] for worker in cluster.workers.values()] == ["7_0", "7_1", "7_2"]
    assert {worker.status for worker in cluster.workers.values()} == {JobStatus.SUBMITTED}
    assert running.advice_of_scaling(cluster.name, 3) is None


@pytest.fixture
def bounded(running, testbed_site):
    """The back end of a site whose user total is 10 cores: schedulers take 1, workers 2."""
    total = UserTotal(cores=10, memory_gib=100)
    slurm_section = testbed_site.slurm.model_copy(update={"user_total": total})
    running.site = testbed_site.model_copy(update={"slurm": slurm_section})
    return running


async def test_the_sites_total_of_a_user_holds_over_all_clusters(bounded, launcher, testbed_site, alice):
    values = {"status": JobStatus.RUNNING, "scheduler_address": "tls://node:1"}
    first, second = (cluster_in(bounded, testbed_site, **values) for _ in range(2))
    first.added_to_proxies = second.added_to_proxies = True
    bounded.db.update_cluster(first, count=3)
    await bounded.reconcile_cluster(first)
    assert bounded.advice_of_scaling(second.name, 2).startswith(
        "The cluster gets 1 of the 2 workers that you asked for. You hold 8 cores and 16 GB of 10 cores and 100 GB: "
    )
    bounded.db.update_cluster(second, count=2)
    for _ in range(2):
        await bounded.reconcile_cluster(second)
    assert [asked["options"]["array"] for asked in launcher.asked] == ["0-2", "0-0"]
    with pytest.raises(Refusal, match="There is no room for another cluster: its scheduler needs 1 core"):
        await bounded.start_cluster(alice, OPTIONS)

    (worker, *_) = first.workers.values()
    bounded.db.update_cluster(first, count=2)
    bounded.db.update_worker(worker, target=JobStatus.STOPPED)
    bounded.queue.clusters.clear()
    await bounded.reconcile_worker(worker)
    assert second in bounded.queue.clusters
    await bounded.reconcile_cluster(second)
    assert len(second.active_workers()) == 2
    assert bounded.advice_of_scaling(second.name, 2) is None


async def test_the_sites_number_of_workers_holds_without_a_user_total(running, launcher, testbed_site):
    bounds = MaximumWorkers(per_cluster=600, per_user=1000)
    assert testbed_site.slurm.user_total is None
    slurm_section = testbed_site.slurm.model_copy(update={"maximum_workers": bounds})
    running.site = testbed_site.model_copy(update={"slurm": slurm_section})
    values = {"status": JobStatus.RUNNING, "scheduler_address": "tls://node:1", "count": 600}
    first, second = (cluster_in(running, testbed_site, **values) for _ in range(2))
    first.added_to_proxies = second.added_to_proxies = True
    await asyncio.gather(running.reconcile_cluster(first), running.reconcile_cluster(second))
    assert len(first.workers) + len(second.workers) == 1000
    assert (
        sorted(len(cluster.workers) for cluster in (first, second)) == [400, 600]
        or min(len(cluster.workers) for cluster in (first, second)) >= 400
    )
    stored = running.db.db.connect().execute(workers_table.select()).fetchall()
    known = {worker.id: worker.name for cluster in (first, second) for worker in cluster.workers.values()}
    assert {row.id: row.name for row in stored} == known
    advice = running._advice(second.name, 100_000)
    assert advice.startswith("The site allows 600 workers to a cluster: the cluster requests 600 instead of 100000. ")
    assert "The site allows 1000 workers to a user." in advice


async def test_upstream_gives_a_cluster_up_that_slurm_takes_no_workers_of_for_a_moment(running, launcher, testbed_site):
    """The bug that makes our own ``_check_cluster_scale`` and ``submit_workers`` necessary."""

    async def away(*_arguments):
        raise LauncherError("Unable to contact slurm controller")

    running.start_job = away
    cluster = cluster_in(running, testbed_site, status=JobStatus.RUNNING, count=3)
    for _ in range(3):
        worker = running.db.create_worker(cluster)
        await slurm.SlurmBackend._worker_to_submitted(running, worker)
    await slurm.SlurmBackend._check_cluster_scale(running, cluster)
    assert cluster.target == JobStatus.FAILED


async def alive_of(numbers):
    return {number: number == "7_5" for number in numbers}


@pytest.mark.parametrize(("kind", "count"), [(FacilitySlurmBackend, 1), (slurm.SlurmBackend, 5)])
async def test_workers_that_fail_together_are_one_failed_attempt(running, testbed_site, tmp_path, kind, count):
    """Upstream counts each worker, and fails a cluster after three."""
    cluster = cluster_in(running, testbed_site, status=JobStatus.RUNNING, count=6)
    workers = [running.db.create_worker(cluster) for _ in range(6)]
    for task, worker in enumerate(workers):
        running.db.update_worker(worker, status=JobStatus.SUBMITTED, state={"job_id": f"7_{task}"})
    squeue(running, tmp_path, listed("7_5", "RUNNING"))
    statuses, looked = kind.do_check_workers, asyncio.Event()

    async def look(found):
        if workers[0].target == JobStatus.FAILED:
            looked.set()
        return await statuses(running, found)

    running.do_check_workers = look
    if kind is slurm.SlurmBackend:
        running._do_check = functools.partial(slurm.SlurmBackend._do_check, running)
        running.check_jobs = alive_of
    running.worker_status_period = 0.001
    looking = asyncio.create_task(running.check_workers_loop())
    await asyncio.wait_for(looked.wait(), 20)
    looking.cancel()
    assert cluster.worker_start_failure_count == count
    assert [worker.target for worker in workers] == [JobStatus.FAILED] * 5 + [JobStatus.RUNNING]


async def test_workers_that_are_to_go_go_together(running, launcher, testbed_site):
    cluster = cluster_in(running, testbed_site, status=JobStatus.RUNNING, count=0)
    workers = [running.db.create_worker(cluster) for _ in range(5)]
    ending = {"status": JobStatus.RUNNING, "target": JobStatus.STOPPED}
    running.db.update_workers(
        [(worker, {**ending, "state": {"job_id": f"7_{task}"}}) for task, worker in enumerate(workers)]
    )
    running.db.update_worker(workers[4], target=JobStatus.RUNNING)
    await asyncio.gather(*(running.reconcile_worker(worker) for worker in workers))
    assert [asked["jobs"] for asked in launcher.asked] == [["7_0", "7_1", "7_2", "7_3"]]
    assert [worker.status for worker in workers] == [JobStatus.STOPPED] * 4 + [JobStatus.RUNNING]


async def test_a_worker_that_is_to_go_while_it_is_submitted_goes(running, launcher, testbed_site):
    cluster = cluster_in(running, testbed_site, status=JobStatus.RUNNING, count=2, scheduler_address="tls://node:1")
    cluster.added_to_proxies = True

    async def stop_worker(action):
        if action == "submit":
            worker = next(iter(cluster.workers.values()))
            running.db.update_worker(worker, target=JobStatus.STOPPED)
            await running.reconcile_worker(worker)
            assert worker.status == JobStatus.CREATED

    launcher.meanwhile = stop_worker
    await running.reconcile_cluster(cluster)
    worker = running.queue.clusters[-1]
    await running.reconcile_worker(worker)
    assert [asked["jobs"] for asked in launcher.asked if asked["action"] == "cancel"] == [["7_0"]]
    assert worker.status == JobStatus.STOPPED
