"""The start of a cluster: calls of the launcher, records, and that a refusal leaves nothing."""

import asyncio
import base64
import json

import pytest
from aiohttp import web
from dask_gateway_server.backends.db_base import JobStatus

from gateway.as_user import preflight
from gateway.errors import Refusal
from gateway.identity.hub import HubUnavailable
from gateway.service.termination import StartFailure
from gateway.slurm import records, start
from gateway.slurm.launcher_client import LauncherError
from tests.unit.slurm.world import CANARY, OPTIONS, STAGING, TOKEN, Proxy, cluster_in


async def test_secrets_and_values_are_in_files_of_the_clusters_folder(running, launcher, alice):
    cluster = running.db.get_cluster(await running.start_cluster(alice, OPTIONS))
    folder = f"{STAGING}/{cluster.name}"
    contents = {name: base64.b64decode(content) for name, content in launcher.asked[0]["files"].items()}
    variables = preflight.parsed(contents.pop("variables"))
    assert contents == {
        "dask.crt": cluster.tls_cert,
        "dask.pem": cluster.tls_key,
        "api-token": cluster.token.encode(),
    }
    assert variables["MINE"] == CANARY
    assert variables["DASK_GATEWAY_API_TOKEN"] == f"{folder}/api-token"
    assert variables["DASK_DISTRIBUTED__COMM__TLS__WORKER__KEY"] == f"{folder}/dask.pem"


async def test_a_good_request_is_prepared_and_queued(running, launcher, alice):
    name = await running.start_cluster(alice, OPTIONS)
    assert [asked["action"] for asked in launcher.asked] == ["start"]
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
    launcher.answers["start"] = {}
    cluster = running.db.get_cluster(await running.start_cluster(alice, OPTIONS))
    assert [state async for state in running.do_start_cluster(cluster)] == [{"job_id": "7"}]
    started, submitted = (next(a for a in launcher.asked if a["action"] == action) for action in ("start", "submit"))
    assert started["job"] == {name: submitted[name] for name in ("log", "script", "options")}


async def test_a_job_is_no_orphan_while_its_cluster_starts(running, launcher, alice):
    seen = []

    async def watch(action):
        (cluster,) = running.db.name_to_cluster
        seen.append((action, cluster in running.submitting))

    launcher.meanwhile = watch
    await running.start_cluster(alice, OPTIONS)
    assert seen == [("start", True)]
    assert running.submitting == set()


def recorded(running):
    with running.db.db.begin() as connection:
        return connection.execute(records.clusters_table.select()).fetchall()


@pytest.mark.finding("B10")
@pytest.mark.parametrize("error", [Refusal("no"), LauncherError("broken"), OSError("no socket")], ids=str)
async def test_nothing_is_left_of_a_start_that_failed(running, launcher, alice, error):
    """After a refusal the launcher has left nothing; after another error a folder or a job may exist."""
    launcher.answers["start"] = error
    with pytest.raises((Refusal, OSError), match=str(error)):
        await running.start_cluster(alice, OPTIONS)
    refused = isinstance(error, Refusal)
    assert [asked["action"] for asked in launcher.asked] == (["start"] if refused else ["start", "discard"])
    assert running.db.name_to_cluster == running.db.id_to_cluster == running.db.username_to_clusters["alice"] == {}
    assert all(cluster.target == JobStatus.FAILED for cluster in running.queue.clusters)
    assert recorded(running) == []


@pytest.mark.finding("B10")
async def test_a_start_that_was_given_up_is_ended_when_the_launcher_works_again(running, launcher, alice):
    launcher.answers |= {"start": LauncherError("hangs"), "discard": LauncherError("hangs")}
    with pytest.raises(Refusal):
        await running.start_cluster(alice, OPTIONS)
    (cluster,) = running.queue.clusters
    running.proxy = Proxy()
    await running._cluster_to_stopped(cluster)
    assert launcher.asked[-1] == {"action": "cancel", "cluster": cluster.name, "jobs": [], "remove": True}


@pytest.mark.finding("R6")
async def test_the_launcher_gets_the_users_token_and_the_gateway_stores_it_nowhere(running, launcher, alice, caplog):
    caplog.set_level("DEBUG")
    cluster = running.db.get_cluster(await running.start_cluster(alice, OPTIONS))
    assert launcher.asked[0].pop("token") == TOKEN
    kept = [launcher.asked, recorded(running), cluster.__dict__, dict(cluster.config), caplog.text]
    assert TOKEN not in str(kept)


@pytest.mark.finding("R6")
async def test_a_request_with_a_cookie_alone_starts_nothing(running, launcher, alice):
    """The stock client answers a 401 by the same request with its token."""
    with pytest.raises(web.HTTPUnauthorized) as refused:
        await running.start_cluster(alice.with_token(None), OPTIONS)
    assert refused.value.headers["WWW-Authenticate"] == "jupyterhub"
    assert (launcher.asked, recorded(running)) == ([], [])


@pytest.mark.finding("R6")
async def test_a_fault_of_the_hub_is_named_with_advice_and_leaves_nothing(running, launcher, alice):
    launcher.answers["start"] = HubUnavailable("JupyterHub answers 503")
    with pytest.raises(Refusal) as refused:
        await running.start_cluster(alice, OPTIONS)
    said = "The gateway can't verify who you are now, because JupyterHub answers 503: try again in a minute."
    assert str(refused.value) == said
    assert [asked["action"] for asked in launcher.asked] == ["start", "discard"]
    assert recorded(running) == []


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(start, "PREFLIGHT_SECONDS", 30)


@pytest.mark.finding("R2")
@pytest.mark.parametrize("early", [True, False], ids=["before the launcher's answer", "later"])
async def test_a_refusal_of_the_preflight_is_the_answer_and_leaves_nothing(running, launcher, alice, patient, early):
    async def refuse(action):
        if action == "start":
            (name,) = running.db.name_to_cluster
            if early:
                await running.note_refusal(name, "lacks dask")
            else:
                later.append(asyncio.get_running_loop().call_later(0.05, noted, name))

    def noted(name):
        later.append(asyncio.ensure_future(running.note_refusal(name, "lacks dask")))

    later = []
    launcher.meanwhile = refuse
    with pytest.raises(Refusal, match="lacks dask"):
        await running.start_cluster(alice, OPTIONS)
    assert [asked["action"] for asked in launcher.asked] == ["start", "discard"]
    assert recorded(running) == []
    assert running._refusals == {}


async def test_a_scheduler_that_reports_ends_the_wait(running, launcher, alice, patient):
    async def start_at_once(action):
        (cluster,) = running.db.name_to_cluster.values()
        cluster.ready.set()

    launcher.meanwhile = start_at_once
    assert await running.start_cluster(alice, OPTIONS) in running.db.name_to_cluster


async def test_a_server_that_ends_answers_who_waits(running, launcher, alice, patient):
    waiting = asyncio.ensure_future(running.start_cluster(alice, OPTIONS))
    queued = asyncio.Event()
    running.queue.put = lambda cluster: queued.set()
    await queued.wait()
    await running.answer_waiting_clients(None)
    assert await waiting in running.db.name_to_cluster


async def test_a_refusal_after_the_answer_is_why_the_cluster_failed(running, launcher, alice):
    cluster = running.db.get_cluster(await running.start_cluster(alice, OPTIONS))
    await running.note_refusal(cluster.name, "lacks dask")
    assert (cluster.target, running.reason_of(cluster.name)) == (JobStatus.FAILED, "lacks dask")
    assert running.causes[cluster.name] is StartFailure.PREFLIGHT


@pytest.mark.parametrize(
    "changed", [{"status": JobStatus.RUNNING}, {"target": JobStatus.STOPPED}, {"target": JobStatus.FAILED}]
)
async def test_a_refusal_of_a_cluster_that_does_not_start_changes_nothing(running, testbed_site, changed):
    cluster = cluster_in(running, testbed_site, **changed)
    before = cluster.target
    await running.note_refusal(cluster.name, "lacks dask")
    await running.note_refusal("f" * 32, "lacks dask")
    assert (cluster.target, running.reason_of(cluster.name), running.queue.clusters) == (before, None, [])


async def test_who_starts_a_cluster_is_told_that_slurm_did_not_take_it(running, launcher, testbed_site):
    cluster = cluster_in(running, testbed_site)
    launcher.answers["submit"] = LauncherError("'submit' failed: Unable to contact slurm controller")
    await running.reconcile_cluster(cluster)
    assert cluster.target == JobStatus.FAILED
    assert running.reason_of(cluster.name) == (
        "SLURM did not take the scheduler's job: 'submit' failed: Unable to contact slurm controller. Try again later."
    )
    assert running.submitting == set()
