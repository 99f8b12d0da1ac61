"""The jobs of a request: options of sbatch, scripts, and the secrets that neither contains."""

import asyncio
import dataclasses
import json
import shlex
import subprocess
from types import SimpleNamespace

import pytest
from dask_gateway_server.backends.db_base import JobStatus

from gateway.as_user import preflight
from gateway.request.environments import Environment
from gateway.site import GIB
from gateway.slurm.configuration import cluster_config, plan_of
from tests.unit.slurm.world import ALICE, CANARY, STAGING, cluster_in


@pytest.fixture
def submission(running, launcher, testbed_site):
    """Submits a scheduler or so many workers of a request; returns the job that the launcher gets, and the cluster."""

    async def submit(request, count, changed):
        values = {"status": JobStatus.RUNNING, "scheduler_address": "tls://node:1", "count": count}
        cluster = cluster_in(running, testbed_site, request, changed, **values)
        cluster.added_to_proxies = True
        if count:
            await running.reconcile_cluster(cluster)
            workers = cluster.workers.values()
            assert [worker.state["job_id"] for worker in workers] == [f"7_{task}" for task in range(count)]
        else:
            assert await anext(running.do_start_cluster(cluster)) == {"job_id": "7"}
        return cluster

    def make(request, *, worker, count=1, **changed):
        record = asyncio.run(submit(request, count if worker else 0, changed))
        asked = launcher.asked.pop()
        return SimpleNamespace(
            **{name: asked[name] for name in ("log", "script", "options")},
            record=record,
            folder=f"{STAGING}/{record.name}",
        )

    return make


def words_of(script):
    """The words of a script's command; each array task has its worker's name in ``$1`` by then."""
    first, *_, line = script.splitlines()
    assert first == "#!/bin/sh"
    return shlex.split(line)


def shell(script, task):
    """The words of the command that the shell makes of the script of an array task."""
    ended = subprocess.run(
        ["sh", "-s"],
        input=script.replace("exec ", "printf '%s\\n' ", 1),
        env={"SLURM_ARRAY_TASK_ID": str(task)},
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.splitlines()


@pytest.mark.parametrize("worker", [False, True], ids=["scheduler", "worker"])
def test_jobs_end_after_the_lifetime_and_are_charged_to_the_site(submission, testbed_site, worker):
    options = submission(ALICE, worker=worker).options
    minutes = testbed_site.slurm.timeouts.lifetime_seconds // 60
    assert {"time": str(minutes), "account": "cms"}.items() <= options.items()


def test_schedulers_and_workers_have_places_of_their_own(submission):
    scheduler, worker = (submission(ALICE, worker=worker) for worker in (False, True))
    assert (scheduler.options["partition"], worker.options["partition"]) == ("hammer-schedulers", "hammer-nodes")
    assert worker.options["constraint"] == "local-disk"
    assert "constraint" not in scheduler.options
    assert "#SBATCH --nice=10" in worker.script.splitlines()
    assert "#SBATCH" not in scheduler.script
    absent = {"reservation", "qos", "array"}
    assert not absent & scheduler.options.keys()


def test_all_workers_are_one_array_with_a_name_for_each(submission):
    job = submission(ALICE, worker=True, count=300)
    assert job.options["array"] == "0-299"
    names = list(job.record.workers)
    for task in (0, 7, 299):
        words = shell(job.script, task)
        assert words[words.index("--name") + 1] == names[task]
        assert words[words.index("--nthreads") + 1] == "2"


def test_jobs_are_known_as_the_gateways(submission, testbed_site):
    for worker in (False, True):
        job = submission(ALICE, worker=worker)
        assert job.options["job-name"] == "dask-gateway"
        assert job.options["comment"] == testbed_site.slurm.release


@pytest.mark.parametrize(("seconds", "minutes"), [(60, 1), (61, 2), (86400, 1440)])
def test_lifetime_is_never_rounded_down(submission, seconds, minutes):
    assert submission(ALICE, worker=True, lifetime_seconds=seconds).options["time"] == str(minutes)


def test_worker_gets_what_was_asked_for(submission):
    job = submission(ALICE, worker=True)
    assert {"cpus-per-task": "2", "mem": "4096M"}.items() <= job.options.items()
    words = words_of(job.script)
    assert words[:4] == ["exec", "/usr/bin/python3", "-IS", f"{job.folder}/preflight.py"]
    assert (words[4], words[6]) == ("start", "worker")
    assert words[words.index("--nthreads") + 1] == "2"
    assert words[words.index("--memory-limit") + 1] == str(4 * GIB)


def test_scheduler_gets_what_the_site_says(submission):
    job = submission(ALICE, worker=False)
    assert {"cpus-per-task": "1", "mem": "2048M"}.items() <= job.options.items()
    words = words_of(job.script)
    assert (words[1], words[6]) == ("/usr/bin/python3", "scheduler")


@pytest.mark.weakness(31)
@pytest.mark.parametrize("worker", [False, True], ids=["scheduler", "worker"])
def test_a_path_means_nothing_to_the_shell_of_the_job(submission, worker):
    prefix = "/depot/cms/users/alice/$(id) 'x'; echo"
    job = submission(dataclasses.replace(ALICE, environment=Environment("conda_env", prefix)), worker=worker)
    words = words_of(job.script)
    assert preflight.decoded(words[5]).prefix == prefix


@pytest.mark.weakness(10, 32, 33)
@pytest.mark.parametrize("worker", [False, True], ids=["scheduler", "worker"])
def test_jobs_hold_neither_secrets_nor_values(submission, testbed_site, worker):
    job = submission(ALICE, worker=worker)
    submitted = [job.log, job.script, job.options]
    everything = json.dumps([submitted, cluster_config(testbed_site, ALICE), plan_of(testbed_site, ALICE).encoded()])
    assert CANARY not in everything
    assert job.record.token not in everything
    assert preflight.decoded(words_of(job.script)[5]).variables == f"{job.folder}/variables"


@pytest.mark.weakness(33)
def test_jobs_have_a_home_of_their_own(submission):
    for worker in (True, False):
        plan = preflight.decoded(words_of(submission(ALICE, worker=worker).script)[5])
        assert plan.scratch == "dask-20001"
