"""The calls of sbatch and scancel."""

import os

import pytest

from gateway.slurm.commands import SLURM_ENVIRONMENT
from tests.unit.slurm.launcher.world import CLUSTER, LOG
from tests.unit.slurm.world import CANARY


def test_a_cluster_starts_with_its_schedulers_job(setting):
    assert setting.start() == {"ok": True, "job": "4711"}
    assert setting.called("sbatch").arguments[3] == f"--chdir={setting.folder}"


@pytest.mark.parametrize("end", ["echo 'sbatch: error: slurmctld is away' >&2; exit 1", "echo Submitted"])
def test_a_cluster_is_prepared_though_its_job_is_not_taken(setting, end):
    setting.command("sbatch", end)
    assert setting.start() == {"ok": True}
    setting.command("sbatch", "echo '4711;hammer'")
    assert setting.submit() == {"ok": True, "job": "4711"}


SCHEDULER_LOG = f"dask-scheduler-{CLUSTER}.log"


@pytest.mark.finding("B10")
def test_a_schedulers_job_is_submitted_once(setting):
    """The first call may have been given up after SLURM took the job."""
    setting.prepare()
    assert setting.submit(log=SCHEDULER_LOG) == {"ok": True, "job": "4711"}
    assert setting.called("sbatch") is None
    setting.queue({"4713": "/elsewhere"})
    assert setting.submit(log=SCHEDULER_LOG) == {"ok": True, "job": "4711"}
    assert setting.called("sbatch") is not None


def test_no_job_is_submitted_while_slurm_does_not_say_which_there_are(setting):
    setting.prepare()
    setting.command("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert "Unable to contact" in setting.submit(log=SCHEDULER_LOG)["error"]
    assert setting.called("sbatch") is None


@pytest.mark.weakness(10, 32, 33)
def test_sbatch_knows_nothing_of_the_user_but_the_script(setting, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD_CANARY", CANARY)
    setting.prepare()
    assert setting.submit(script="#!/bin/sh\nexec x\n") == {"ok": True, "job": "4711"}
    called = setting.called("sbatch")
    assert called.environment == SLURM_ENVIRONMENT == {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    assert called.input == "#!/bin/sh\nexec x\n"
    assert called.place == "/"


@pytest.mark.weakness(23)
def test_where_a_job_runs_and_writes_is_not_the_requests(setting):
    setting.prepare()
    setting.submit()
    assert setting.called("sbatch").arguments == [
        "--parsable",
        "--export=ALL",
        "--no-requeue",
        f"--chdir={setting.folder}",
        f"--output={setting.logs}/{CLUSTER}/{LOG}",
        "--mem=4096M",
        "--job-name=dask-gateway",
    ]


@pytest.mark.weakness(10)
@pytest.mark.parametrize(
    "name", ["output", "chdir", "export", "uid", "wrap", "dependency", "mem=1 --uid", "", "prolog"]
)
def test_other_options_of_jobs_are_refused(setting, name):
    setting.prepare()
    answer = setting.submit(options={"mem": "1M", name: "x"})
    assert answer["error"].endswith(f"the launcher does not pass these options to sbatch: {name}")
    assert setting.called("sbatch") is None


OTHERS_LOG = f"dask-scheduler-{'f' * 32}.log"


@pytest.mark.parametrize(
    "log", ["", "x.log", "../x.log", f"../{LOG}", f"{LOG}/x", f"{LOG}\n", "dask-worker-%j.log", OTHERS_LOG]
)
def test_a_log_has_a_name_of_its_kind(setting, log):
    setting.prepare()
    assert "error" in setting.submit(log=log)
    assert setting.called("sbatch") is None


def test_a_submission_that_fails_says_why(setting):
    setting.prepare()
    setting.command("sbatch", "echo 'sbatch: error: no such partition' >&2; exit 1")
    assert "ended with exit code 1: sbatch: error: no such partition" in setting.submit()["error"]
    setting.command("sbatch", "echo Submitted")
    assert "instead of a job id" in setting.submit()["error"]


def test_jobs_are_cancelled_and_the_folder_goes(setting):
    setting.prepare()
    assert setting.cancel(jobs=["4711", "4712_3"]) == {"ok": True, "skipped": []}
    called = setting.called("scancel")
    assert (called.arguments, called.environment) == (["4711", "4712_3"], SLURM_ENVIRONMENT)
    assert not setting.folder.exists()


def test_jobs_are_cancelled_when_the_folder_is_gone(setting):
    assert setting.cancel() == {"ok": True, "skipped": []}
    assert setting.called("scancel").arguments == ["4711"]


@pytest.mark.finding("R1")
@pytest.mark.parametrize("place", ["/elsewhere", "", "/x\n{folder}", "{folder}/x", "{folder}\n/x"])
def test_only_jobs_of_the_cluster_are_cancelled(setting, place):
    setting.queue({"4711": setting.folder, "4712": place.format(folder=setting.folder)})
    answer = setting.cancel(jobs=["4711", "4712", "4712_3", "4799"])
    assert answer == {"ok": True, "skipped": ["4712", "4799"]}
    assert setting.called("scancel").arguments == ["4711"]


def test_squeue_is_asked_for_one_job_of_the_user_and_of_our_name(setting):
    setting.cancel()
    assert setting.called("squeue").arguments == [
        "--noheader",
        "--name=dask-gateway",
        "--jobs=4711",
        f"--user={os.getuid()}",
        "--format=%Z",
    ]


def test_a_folder_stays_for_the_clusters_other_jobs(setting):
    setting.prepare()
    setting.cancel(remove=False)
    assert setting.folder.is_dir()


def test_without_jobs_a_folder_that_stays_cancels_nothing(setting):
    assert setting.cancel(jobs=[], remove=False) == {"ok": True, "skipped": []}
    assert setting.called("scancel") is None


@pytest.mark.finding("B10")
def test_the_jobs_of_a_cluster_of_which_the_server_knows_none_are_found(setting):
    setting.prepare()
    setting.queue({"4711": "/elsewhere", "4712": setting.folder})
    assert setting.cancel(jobs=[]) == {"ok": True, "skipped": []}
    assert setting.called("scancel").arguments == ["4712"]
    assert not setting.folder.exists()


@pytest.mark.parametrize("remove", [True, False])
def test_nothing_is_cancelled_while_slurm_does_not_say_whose_a_job_is(setting, remove):
    setting.prepare()
    setting.command("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert "Unable to contact" in setting.cancel(remove=remove)["error"]
    assert setting.called("scancel") is None
    assert setting.folder.exists() is not remove


def test_a_job_that_slurm_has_forgotten_is_over(setting):
    setting.command("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert setting.cancel() == {"ok": True, "skipped": ["4711"]}
    assert setting.called("scancel") is None


@pytest.mark.parametrize("job", ["", "0x1", "-1", "--user=bob", "1 2", "1_", "1_[2-3]", "1_2_3", "1\n", "9" * 13, 5])
def test_what_is_no_jobs_number_cancels_nothing(setting, job):
    setting.prepare()
    assert "error" in setting.cancel(jobs=["4711", job])
    assert setting.called("scancel") is None


@pytest.mark.parametrize(
    "said",
    [
        "scancel: error: Kill job error on job id 4711: Invalid job id specified",
        "scancel: error: Kill job error on job id 4711: Job/step already completing or completed",
    ],
)
def test_jobs_that_are_over_are_cancelled(setting, said):
    setting.command("scancel", f"echo '{said}' >&2; echo '{said}' >&2; exit 1")
    assert setting.cancel() == {"ok": True, "skipped": []}


def test_jobs_that_could_not_be_cancelled_are_told_and_the_folder_goes_all_the_same(setting):
    setting.prepare()
    setting.command("scancel", "echo 'Invalid job id' >&2; echo 'scancel: error: Connection refused' >&2; exit 1")
    assert "Connection refused" in setting.cancel()["error"]
    assert not setting.folder.exists()
