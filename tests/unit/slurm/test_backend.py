"""The SLURM gateway's configuration, what it asks the launcher for, and the jobs that come of it."""

import asyncio
import base64
import dataclasses
import json
import shlex
import subprocess
from types import SimpleNamespace

import pytest
from aiohttp import web
from cryptography.fernet import Fernet
from dask_gateway_server.backends.db_base import Cluster, DataManager, JobStatus
from dask_gateway_server.backends.jobqueue import slurm
from dask_gateway_server.models import User
from dask_gateway_server.options import Options

from gateway.as_user import preflight
from gateway.errors import Refusal
from gateway.identity.accounts import Account, classify
from gateway.identity.authenticator import FacilityUser
from gateway.request.environments import Environment
from gateway.request.options import ClusterRequest
from gateway.site import GIB, UserTotal
from gateway.slurm import backend as slurm_backend
from gateway.slurm import jobs, launcher_client, records
from gateway.slurm.__main__ import SlurmGateway, main
from gateway.slurm.backend import (
    GONE,
    LAST_LOOKS,
    LOOK_SECONDS,
    QUIET_SECONDS,
    FacilitySlurmBackend,
    FacilitySlurmClusterConfig,
)
from gateway.slurm.configuration import cluster_config, plan_of, server_config
from gateway.slurm.launcher_client import LauncherError, read_answer
from gateway.slurm.queries import CommandError

CANARY = "f3b1c0ffee"
NAME = "0123456789abcdef" * 2
FOLDER = f"/depot/cms/users/alice/.dask-gateway/{NAME}"
ALICE = ClusterRequest(
    username="alice",
    user_class="purdue",
    account=Account("alice", 20001, 20000, (21001,)),
    environment=Environment("pixi_project", "/depot/cms/users/alice", "default"),
    variables={"PATH": "/bin", "MINE": CANARY},
    worker_cores=2.0,
    worker_memory_bytes=4 * GIB,
)
PYTHON = "/depot/cms/users/alice/.pixi/envs/default/bin/python"


@pytest.fixture
def backend(testbed_site):
    config = server_config(testbed_site)
    config.FacilitySlurmBackend.db_encrypt_keys = [base64.b64encode(bytes(32)).decode()]
    return FacilitySlurmBackend(config=config, site=testbed_site)


@pytest.fixture
def launcher(backend, monkeypatch):
    """What the launcher was asked for; it answers by ``answers``, else that all is well."""
    asked, answers = [], {"start": {"state": [], "job": "7"}}

    async def act(owner, action, **arguments):
        asked.append({"action": action, "cluster": owner.cluster, **arguments})
        found = answers.get(action, {"job": "7"})
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr(launcher_client, "act", act)
    return SimpleNamespace(asked=asked, answers=answers)


@pytest.fixture
def submission(backend, launcher, testbed_site):
    """What the launcher gets for a request: log, options and script, of a scheduler or of so many workers."""
    remembered = []
    backend.db = SimpleNamespace(update_workers=remembered.extend)

    def make(request, *, worker, count=1, **changed):
        cluster = cluster_of(testbed_site, request, **changed)
        if worker:
            workers = [SimpleNamespace(name=f"{number:032x}", target=JobStatus.RUNNING) for number in range(count)]
            asyncio.run(backend._submit_workers(cluster, workers))
            jobs = [(other.name, update["state"]["job_id"]) for other, update in remembered]
            assert jobs == [(worker.name, f"7_{task}") for task, worker in enumerate(workers)]
            remembered.clear()
        else:
            assert asyncio.run(anext(backend.do_start_cluster(cluster))) == {"job_id": "7"}
        return SimpleNamespace(**launcher.asked.pop())

    return make


def cluster_of(site, request, **changed):
    return SimpleNamespace(
        name=NAME,
        username=request.username,
        token="token-of-the-cluster",
        tls_cert=b"certificate",
        tls_key=b"key",
        scheduler_address="tls://node:1",
        state={},
        workers={},
        config=FacilitySlurmClusterConfig(**{**cluster_config(site, request), **changed}),
    )


def words_of(script):
    """Of the command that a job becomes; a task of an array has found its name by then."""
    first, *_, line = script.splitlines()
    assert first == "#!/bin/sh"
    return shlex.split(line)


def shell(script, task):
    """The words of the command that the shell makes of the script of an array's task."""
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
    for task in (0, 7, 299):
        words = shell(job.script, task)
        assert words[words.index("--name") + 1] == f"{task:032x}"
        assert words[words.index("--nthreads") + 1] == "2"


def test_jobs_are_known_as_their_clusters(submission, testbed_site):
    for worker in (False, True):
        options = submission(ALICE, worker=worker).options
        assert options["job-name"] == "dask-gateway"
        assert options["comment"] == f"{testbed_site.slurm.release}/{NAME}"


@pytest.mark.parametrize(("seconds", "minutes"), [(60, 1), (61, 2), (86400, 1440)])
def test_lifetime_is_never_rounded_down(submission, seconds, minutes):
    assert submission(ALICE, worker=True, lifetime_seconds=seconds).options["time"] == str(minutes)


def test_worker_gets_what_was_asked_for(submission):
    job = submission(ALICE, worker=True)
    assert {"cpus-per-task": "2", "mem": "4096M"}.items() <= job.options.items()
    words = words_of(job.script)
    assert words[:4] == ["exec", PYTHON, "-IS", f"{FOLDER}/preflight.py"]
    assert (words[4], words[6]) == ("start", "worker")
    assert words[words.index("--nthreads") + 1] == "2"
    assert words[words.index("--memory-limit") + 1] == str(4 * GIB)


def test_scheduler_gets_what_the_site_says(submission):
    job = submission(ALICE, worker=False)
    assert {"cpus-per-task": "1", "mem": "2048M"}.items() <= job.options.items()
    words = words_of(job.script)
    assert (words[1], words[6]) == (PYTHON, "scheduler")


@pytest.mark.weakness(31)
@pytest.mark.parametrize("worker", [False, True], ids=["scheduler", "worker"])
def test_a_path_means_nothing_to_the_shell_of_the_job(submission, worker):
    prefix = "/depot/cms/users/alice/$(id) 'x'; echo"
    job = submission(dataclasses.replace(ALICE, environment=Environment("conda_env", prefix)), worker=worker)
    words = words_of(job.script)
    assert words[1] == f"{prefix}/bin/python"
    assert preflight.decoded(words[5]).prefix == prefix


@pytest.mark.weakness(10, 32, 33)
@pytest.mark.parametrize("worker", [False, True], ids=["scheduler", "worker"])
def test_jobs_hold_neither_secrets_nor_values(submission, testbed_site, worker):
    job = submission(ALICE, worker=worker)
    everything = json.dumps([vars(job), cluster_config(testbed_site, ALICE), plan_of(testbed_site, ALICE).encoded()])
    assert CANARY not in everything
    assert "token-of-the-cluster" not in everything
    assert preflight.decoded(words_of(job.script)[5]).variables == f"{FOLDER}/variables"


def test_secrets_and_values_are_in_files_of_the_clusters_folder(backend, testbed_site):
    files = backend._files(cluster_of(testbed_site, ALICE), ALICE)
    contents = {name: base64.b64decode(content) for name, content in files.items()}
    variables = preflight.parsed(contents.pop("variables"))
    assert contents == {"dask.crt": b"certificate", "dask.pem": b"key", "api-token": b"token-of-the-cluster"}
    assert variables["MINE"] == CANARY
    assert variables["DASK_GATEWAY_API_TOKEN"] == f"{FOLDER}/api-token"
    assert variables["DASK_DISTRIBUTED__COMM__TLS__WORKER__KEY"] == f"{FOLDER}/dask.pem"


@pytest.mark.weakness(33)
def test_jobs_have_a_home_of_their_own(submission):
    for worker in (True, False):
        plan = preflight.decoded(words_of(submission(ALICE, worker=worker).script)[5])
        assert plan.scratch == "/tmp/dask-20001"


async def test_a_stopped_cluster_has_its_job_cancelled_and_its_folder_removed(backend, launcher, testbed_site):
    cluster = cluster_of(testbed_site, ALICE)
    await backend.do_stop_cluster(cluster)
    cluster.state = {"job_id": "7"}
    jobs = {"8_0": JobStatus.CLOSING, "8_1": JobStatus.CLOSING, "8_2": JobStatus.STOPPED, "9_0": JobStatus.STOPPED}
    cluster.workers = {
        number: SimpleNamespace(state={"job_id": number}, status=status) for number, status in jobs.items()
    }
    cluster.workers["never submitted"] = SimpleNamespace(state={}, status=JobStatus.CLOSING)
    await backend.do_stop_cluster(cluster)
    cancelled = [(asked["action"], asked["jobs"], asked["remove"]) for asked in launcher.asked]
    assert cancelled == [("cancel", [], True), ("cancel", ["7", "8"], True)]


@pytest.fixture
def alice(testbed_site):
    return FacilityUser(User("alice"), classify("alice", testbed_site.identity.classes), ALICE.account)


@pytest.fixture
def running(backend):
    """The backend with an empty database, and with what ends clusters that are to end."""
    backend.db, backend.queue = DataManager(), Queue()
    backend._accounting_command = "/bin/false"
    return backend


class Queue:
    """Takes clusters; those that are to end do so at once."""

    def __init__(self):
        self.clusters, self.later = [], []

    def put_after(self, cluster, seconds):
        self.later.append(cluster)

    def put(self, cluster):
        self.clusters.append(cluster)
        if isinstance(cluster, Cluster) and cluster.target == JobStatus.FAILED:
            cluster.shutdown.set()


OPTIONS = {"conda_env": "/depot/cms/users/alice/c", "env": {"MINE": CANARY}}


async def test_a_good_request_is_prepared_queued_and_seen_to_import(running, launcher, alice):
    name = await running.start_cluster(alice, OPTIONS)
    assert [asked["action"] for asked in launcher.asked] == ["start", "imports"]
    assert [cluster.name for cluster in running.queue.clusters] == [name]
    cluster = running.db.get_cluster(name)
    assert (cluster.config.uid, cluster.config.gid) == (20001, 20000)
    assert cluster.options["env"] == {}
    assert CANARY not in json.dumps([cluster.options, dict(cluster.config)], default=str)


async def test_the_schedulers_job_is_remembered_at_once_and_not_submitted_again(running, launcher, alice):
    cluster = running.db.get_cluster(await running.start_cluster(alice, OPTIONS))
    assert cluster.state == {"job_id": "7"}
    assert [state async for state in running.do_start_cluster(cluster)] == [{"job_id": "7"}]
    assert "submit" not in [asked["action"] for asked in launcher.asked]


async def test_a_job_that_slurm_did_not_take_at_once_is_submitted_again(running, launcher, alice):
    launcher.answers["start"] = {"state": []}
    cluster = running.db.get_cluster(await running.start_cluster(alice, OPTIONS))
    assert [state async for state in running.do_start_cluster(cluster)] == [{"job_id": "7"}]
    started, submitted = (next(a for a in launcher.asked if a["action"] == action) for action in ("start", "submit"))
    assert started["job"] == {name: submitted[name] for name in ("log", "script", "options")}


async def test_a_cluster_that_is_stopped_before_it_is_looked_at_loses_its_job(running, launcher, alice):
    running.proxy = Proxy()
    cluster = running.db.get_cluster(await running.start_cluster(alice, OPTIONS))
    assert cluster.status == JobStatus.CREATED
    await running._cluster_to_stopped(cluster)
    (cancelled,) = [asked for asked in launcher.asked if asked["action"] == "cancel"]
    assert (cancelled["jobs"], cancelled["remove"]) == (["7"], True)


async def test_a_job_is_no_orphan_while_its_cluster_starts(running, launcher, alice, monkeypatch):
    act, seen = running._act, []

    async def watched(cluster, action, **arguments):
        seen.append((action, cluster.name in running._submitting))
        return await act(cluster, action, **arguments)

    monkeypatch.setattr(running, "_act", watched)
    await running.start_cluster(alice, OPTIONS)
    assert seen == [("start", True), ("imports", False)]


async def test_an_environment_is_imported_once_for_each_of_its_states(running, launcher, alice):
    launcher.answers["start"] = {"state": [1]}
    await asyncio.gather(*(running.start_cluster(alice, OPTIONS) for _ in range(3)))
    await running.start_cluster(alice, {**OPTIONS, "env": {"PYTHONPATH": "/depot/cms/users/alice/lib"}})
    launcher.answers["start"] = {"state": [2]}
    await running.start_cluster(alice, OPTIONS)
    asked = [asked["action"] for asked in launcher.asked]
    assert (asked.count("start"), asked.count("imports")) == (5, 3)


@pytest.mark.parametrize("action", ["start", "imports"])
@pytest.mark.parametrize("error", [Refusal("no"), LauncherError("broken"), OSError("no sudo")], ids=str)
async def test_nothing_is_left_of_a_refused_cluster(running, launcher, alice, action, error):
    launcher.answers[action] = error
    with pytest.raises((Refusal, OSError), match=str(error)):
        await running.start_cluster(alice, OPTIONS)
    asked = [asked["action"] for asked in launcher.asked]
    assert asked == (["start"] if action == "start" else ["start", "imports", "discard"])
    assert running.db.name_to_cluster == running.db.id_to_cluster == {}
    assert not running.db.username_to_clusters["alice"]
    assert all(cluster.target == JobStatus.FAILED for cluster in running.queue.clusters)
    with running.db.db.begin() as connection:
        assert connection.execute(records.clusters_table.select()).fetchall() == []


SECOND, HOUR, DAY = 1000, 3600 * 1000, 86400 * 1000


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
    config = FacilitySlurmClusterConfig(**cluster_config(testbed_site, ALICE))
    cluster = running.db.create_cluster("alice", {}, config.to_dict())
    running.db.update_cluster(cluster, status=JobStatus.RUNNING, start_time=now - age)
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


def listed(number, state, reason="None", user="alice", uid=20001, comment=""):
    """A line of squeue."""
    return f"{number}|{state}|{user}|{uid}|20000|{comment}|{reason}\n"


def squeue(backend, tmp_path, text, code=0):
    """A squeue that answers with this text, and notes what it was asked."""
    program = tmp_path / "squeue"
    answer = tmp_path / "answer"
    answer.write_text(text)
    stream = 1 if code == 0 else 2
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\ncat {answer} >&{stream}\nexit {code}\n')
    program.chmod(0o755)
    backend.status_command = str(program)
    return lambda: (tmp_path / "asked").read_text().splitlines()


async def test_all_jobs_are_looked_at_in_one_call(running, tmp_path):
    states = {"1": "RUNNING", "2_0": "PENDING", "3": "TIMEOUT", "4": "SUSPENDED", "6_1": "OUT_OF_MEMORY"}
    asked = squeue(running, tmp_path, "".join(map(listed, states.keys(), states.values())))
    assert await running.check_jobs(["1", "2_0", "3", "4", "5"]) == {
        "1": True,
        "2_0": True,
        "3": False,
        "4": True,
        "5": False,
    }
    (arguments,) = asked()
    assert arguments == "--noheader --array --states=all --name=dask-gateway --format=%i|%T|%u|%U|%G|%k|%r"


async def test_no_job_ends_because_slurm_does_not_answer(running, tmp_path):
    squeue(running, tmp_path, "Unable to contact slurm controller", code=1)
    with pytest.raises(CommandError, match="Unable to contact slurm controller"):
        await running.check_jobs(["1"])


def cluster_in(running, site, **values):
    """A cluster in the database."""
    config = FacilitySlurmClusterConfig(**cluster_config(site, ALICE))
    cluster = running.db.create_cluster("alice", {}, config.to_dict())
    if values:
        running.db.update_cluster(cluster, **values)
    return cluster


async def test_jobs_that_nobody_remembers_are_cancelled(running, launcher, testbed_site, tmp_path):
    release = testbed_site.slurm.release
    known = cluster_in(running, testbed_site, status=JobStatus.RUNNING, state={"job_id": "1"})
    running.db.update_worker(running.db.create_worker(known), state={"job_id": "2_0"})
    ended = cluster_in(running, testbed_site, status=JobStatus.STOPPED, target=JobStatus.STOPPED, state=GONE)
    busy = cluster_in(running, testbed_site, status=JobStatus.CREATED)
    running._submitting = {busy.name}
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
    await running._look_at_jobs()
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
    await running._look_at_jobs()
    assert cluster.target == JobStatus.FAILED


async def looked(running, monkeypatch, *, fails=(), looks=10):
    """How long was waited before each of some looks at the queue."""
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

    async def look():
        nonlocal ended
        begins.append(sum(waited) - ended)
        ended = sum(waited)
        if len(begins) == looks:
            raise asyncio.CancelledError
        if len(begins) in fails:
            raise CommandError("slurmctld is away")

    real_wait = asyncio.wait
    monkeypatch.setattr(running, "_look_at_jobs", look)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(asyncio, "wait_for", wait_for)
    with pytest.raises(asyncio.CancelledError):
        await running._look_after_jobs()
    return begins


@pytest.mark.parametrize("status", [None, JobStatus.STOPPED])
async def test_the_queue_is_seldom_looked_at_without_clusters(running, testbed_site, monkeypatch, status):
    if status is not None:
        cluster_in(running, testbed_site, status=status)
    waits = await looked(running, monkeypatch)
    assert waits == [LOOK_SECONDS] * LAST_LOOKS + [LOOK_SECONDS + QUIET_SECONDS] * (10 - LAST_LOOKS)


async def test_looks_that_fail_do_not_count(running, monkeypatch):
    waits = await looked(running, monkeypatch, fails=(2, 5))
    assert waits == [LOOK_SECONDS] * (5 + LAST_LOOKS) + [LOOK_SECONDS + QUIET_SECONDS] * (5 - LAST_LOOKS)


async def test_the_queue_is_looked_at_always_while_there_is_a_cluster(running, testbed_site, monkeypatch):
    cluster_in(running, testbed_site, status=JobStatus.RUNNING)
    assert await looked(running, monkeypatch) == [LOOK_SECONDS] * 10


async def test_nothing_is_looked_after_until_a_cluster_is_made(running, launcher, alice):
    """Of upstream's loops each goes on at once then."""
    looks = [running._check_timeouts(), running.do_check_clusters([]), running.do_check_workers([])]
    waiting = [asyncio.ensure_future(look) for look in looks]
    _, pending = await asyncio.wait(waiting, timeout=0.05)
    assert pending == set(waiting)
    await running.start_cluster(alice, OPTIONS)
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == [None, [], []]


async def test_no_cluster_ends_because_slurm_does_not_answer(running, launcher, testbed_site, tmp_path):
    cluster = cluster_in(running, testbed_site, status=JobStatus.RUNNING, state={"job_id": "1"})
    squeue(running, tmp_path, "Unable to contact slurm controller", code=1)
    with pytest.raises(CommandError):
        await running._look_at_jobs()
    assert cluster.target == JobStatus.RUNNING


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
        " They are submitted as soon as it does."
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
    """The backend of a site that gives a user 10 cores: schedulers take 1, workers 2."""
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


async def test_upstream_gives_a_cluster_up_that_slurm_takes_no_workers_of_for_a_moment(running, launcher, testbed_site):
    """The bug that the test before is about."""

    async def away(*_arguments):
        raise LauncherError("Unable to contact slurm controller")

    running.start_job = away
    cluster = cluster_in(running, testbed_site, status=JobStatus.RUNNING, count=3)
    for _ in range(3):
        worker = running.db.create_worker(cluster)
        await slurm.SlurmBackend._worker_to_submitted(running, worker)
    await slurm.SlurmBackend._check_cluster_scale(running, cluster)
    assert cluster.target == JobStatus.FAILED


async def test_workers_made_at_once_are_as_upstream_makes_them(running, testbed_site, tmp_path):
    database = {"url": f"sqlite:///{tmp_path}/records.sqlite", "encrypt_keys": [Fernet.generate_key()]}
    running.db = DataManager(**database)
    cluster = cluster_in(running, testbed_site, status=JobStatus.RUNNING, count=3)
    upstreams = running.db.create_worker(cluster)
    records.create_workers(running.db, cluster, 2)
    known = dict(cluster.workers)
    assert len(known) == 3
    stored = DataManager(**database).id_to_cluster[cluster.id].workers
    assert stored.keys() == known.keys()
    kept = ("status", "target", "state", "close_expected")
    for worker in [*known.values(), *stored.values()]:
        assert [getattr(worker, name) for name in kept] == [getattr(upstreams, name) for name in kept]
        assert worker.start_time is not None


@pytest.mark.parametrize(("kind", "count"), [(FacilitySlurmBackend, 1), (slurm.SlurmBackend, 5)])
async def test_workers_that_fail_together_are_one_failed_attempt(running, testbed_site, tmp_path, kind, count):
    """Upstream counts each, and gives a cluster up after three."""
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
    act = running._act

    async def slow(cluster, action, **arguments):
        if action == "submit":
            worker = next(iter(cluster.workers.values()))
            running.db.update_worker(worker, target=JobStatus.STOPPED)
            await running.reconcile_worker(worker)
            assert worker.status == JobStatus.CREATED
        return await act(cluster, action, **arguments)

    running._act = slow
    await running.reconcile_cluster(cluster)
    worker = running.queue.clusters[-1]
    await running.reconcile_worker(worker)
    assert [asked["jobs"] for asked in launcher.asked if asked["action"] == "cancel"] == [["7_0"]]
    assert worker.status == JobStatus.STOPPED


async def test_who_starts_a_cluster_is_told_that_slurm_did_not_take_it(running, launcher, testbed_site):
    cluster = cluster_in(running, testbed_site)
    launcher.answers["submit"] = LauncherError("'submit' failed: Unable to contact slurm controller")
    await running._cluster_to_submitted(cluster)
    assert cluster.target == JobStatus.FAILED
    assert running.reason_of(cluster.name) == (
        "SLURM did not take the scheduler's job: 'submit' failed: Unable to contact slurm controller. Try again later."
    )
    assert running._submitting == set()


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("OUT_OF_MEMORY|0:125\n", "OUT_OF_MEMORY, exit code 0:125"),
        ("CANCELLED by 20001|0:15\n", "CANCELLED, exit code 0:15"),
        ("RUNNING|0:0\n", None),
        ("", None),
    ],
)
def test_accounting_tells_how_a_job_ended(said, end):
    assert jobs.end_of(said) == end


def test_upstream_takes_suspended_jobs_for_ended():
    """The bug that the states of gateway.slurm.jobs are about."""
    assert slurm.SlurmBackend.parse_job_states(None, "1 S\n2 RQ\n3 R\n") == {"1": False, "2": False, "3": True}


class Proxy:
    async def remove_route(self, **_):
        pass


def record_of(running, site, kind, **values):
    """A cluster or a worker of one, in the database, on its way to its end."""
    config = FacilitySlurmClusterConfig(**cluster_config(site, ALICE))
    cluster = running.db.create_cluster("alice", {}, config.to_dict())
    item = cluster if kind == "cluster" else running.db.create_worker(cluster)
    update = running.db.update_cluster if kind == "cluster" else running.db.update_worker
    update(item, status=JobStatus.CLOSING, target=JobStatus.STOPPED, state={"job_id": "7"}, **values)
    running.proxy = Proxy()
    return item


@pytest.mark.parametrize("kind", ["cluster", "worker"])
async def test_a_cancel_that_failed_is_tried_again(running, launcher, testbed_site, kind):
    item = record_of(running, testbed_site, kind)
    stop = running._cluster_to_stopped if kind == "cluster" else running._worker_to_stopped
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
    """The bug that the test before is about."""
    item = record_of(running, testbed_site, kind)
    launcher.answers["cancel"] = LauncherError("slurmctld is away")
    await getattr(slurm.SlurmBackend, f"_{kind}_to_stopped")(running, item)
    assert item.status == JobStatus.STOPPED


LOG = "/depot/cms/users/alice/.dask-gateway/logs/{0}/dask-scheduler-{0}.log"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            listed("7", "PENDING", "Resources"),
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
    squeue(running, tmp_path, line)
    running._reasons = {"gone": "x"}
    config = FacilitySlurmClusterConfig(**cluster_config(testbed_site, ALICE))
    cluster = running.db.create_cluster("alice", {}, config.to_dict())
    running.db.update_cluster(cluster, status=JobStatus.SUBMITTED, state={"job_id": "7"})
    await running._check_timeouts()
    assert (cluster.target, running._reasons) == (JobStatus.RUNNING, {})

    running.db.update_cluster(cluster, start_time=cluster.start_time - 121 * SECOND)
    await running._check_timeouts()
    assert cluster.target == JobStatus.FAILED
    running.db.update_cluster(cluster, status=JobStatus.FAILED)
    cluster.ready.set()
    failed = await running.get_cluster(cluster.name, wait=True)
    with pytest.raises(web.HTTPConflict) as caught:
        failed.to_dict()
    log = LOG.format(cluster.name)
    assert caught.value.reason == f"The cluster did not start within 120 s: {reason.format(log=log)}"
    assert (await running.get_cluster(cluster.name)).to_dict()["name"] == cluster.name


async def test_a_scheduler_whose_job_ended_early_is_told_with_its_log(running, testbed_site, tmp_path):
    squeue(running, tmp_path, "")
    accounting = tmp_path / "sacct"
    accounting.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\necho "OUT_OF_MEMORY|0:125"\n')
    accounting.chmod(0o755)
    running._accounting_command = str(accounting)
    config = FacilitySlurmClusterConfig(**cluster_config(testbed_site, ALICE))
    cluster = running.db.create_cluster("alice", {}, config.to_dict())
    running.db.update_cluster(cluster, state={"job_id": "7"})
    assert await running.do_check_clusters([cluster]) == [False]
    how = "(OUT_OF_MEMORY, exit code 0:125)"
    expected = f"The scheduler's job ended before it was ready {how}; its log is {LOG.format(cluster.name)}."
    assert "--jobs=7 " in (tmp_path / "asked").read_text()
    assert running._reasons == {cluster.name: expected}


@pytest.fixture
def sudo(monkeypatch):
    """The processes that were started; each ends with ``answer``."""
    started = []

    class Process:
        answer = b'{"ok": true, "job": "7"}'

        async def communicate(self, text):
            started[-1]["input"] = json.loads(text)
            return self.answer, b"sudo: no"

    async def create(*command, **arguments):
        started.append({"command": command, **arguments})
        return Process()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", create)
    return started


@pytest.mark.weakness(9, 10)
async def test_users_act_by_sudo_without_a_shell_and_without_variables(backend, sudo, testbed_site):
    await backend._act(cluster_of(testbed_site, ALICE), "cancel", jobs=["7"], remove=False)
    (process,) = sudo
    assert process["command"] == ("sudo", "-nHu", "alice", *launcher_client.LAUNCHER)
    assert launcher_client.LAUNCHER[1:] == ("-I", "-m", "gateway.slurm.launcher")
    assert process["env"] == {}
    assert process["input"] == {
        "action": "cancel",
        "cluster": NAME,
        "uid": 20001,
        "gid": 20000,
        "jobs": ["7"],
        "remove": False,
    }


def test_answers_of_the_launcher():
    assert read_answer("submit", b'{"ok": true, "job": "7"}', b"") == {"ok": True, "job": "7"}
    with pytest.raises(Refusal, match="no pixi"):
        read_answer("start", b'{"ok": false, "refusal": "no pixi.toml"}', b"")
    with pytest.raises(LauncherError, match="'submit' failed: sbatch ended"):
        read_answer("submit", b'{"ok": false, "error": "sbatch ended"}', b"")
    with pytest.raises(LauncherError, match="did not answer to 'submit': sudo: a password"):
        read_answer("submit", b"", b"sudo: a password is required")


def test_server_keeps_clusters_over_a_restart(testbed_site):
    config = server_config(testbed_site)
    backend = config.FacilitySlurmBackend
    assert config.Proxy.externally_managed is True
    assert backend.stop_clusters_on_shutdown is False
    assert backend.db_url == "sqlite:////var/lib/dask-gateway/gateway.sqlite"
    assert isinstance(backend.cluster_options, Options)


def test_only_the_proxy_is_reachable_from_elsewhere(testbed_site):
    config = server_config(testbed_site)
    assert config.DaskGateway.address == "127.0.0.1:8088"
    assert config.Proxy.address == ":8000"
    assert config.FacilitySlurmBackend.api_url == "http://submission:8000/api"


def test_start_timeout_is_of_schedulers_and_waiting_workers_are_no_failure(testbed_site):
    backend = server_config(testbed_site).FacilitySlurmBackend
    assert backend.cluster_start_timeout == 120
    assert backend.worker_start_timeout == 86400


def test_service_is_named_exactly(monkeypatch):
    started = []
    monkeypatch.setattr(SlurmGateway, "launch_instance", lambda *, argv: started.append(argv))
    main(["server"])
    main(["proxy"])
    assert started == [[], ["proxy"]]
    for wrong in ([], ["servr"], ["server", "more"]):
        with pytest.raises(SystemExit, match=r"usage: python -m gateway.slurm server\|proxy"):
            main(wrong)
