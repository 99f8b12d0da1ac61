"""The start of a cluster: calls of the launcher, records, and that a refusal leaves nothing."""

import asyncio
import base64
import json

import pytest
from dask_gateway_server.backends.db_base import JobStatus

from gateway.as_user import preflight
from gateway.errors import Refusal
from gateway.slurm import records
from gateway.slurm.launcher_client import LauncherError
from tests.unit.slurm.world import CANARY, OPTIONS, STAGING, cluster_in


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


async def test_a_job_is_no_orphan_while_its_cluster_starts(running, launcher, alice):
    seen = []

    async def watch(action):
        (cluster,) = running.db.name_to_cluster
        seen.append((action, cluster in running.submitting))

    launcher.meanwhile = watch
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


async def test_who_starts_a_cluster_is_told_that_slurm_did_not_take_it(running, launcher, testbed_site):
    cluster = cluster_in(running, testbed_site)
    launcher.answers["submit"] = LauncherError("'submit' failed: Unable to contact slurm controller")
    await running.reconcile_cluster(cluster)
    assert cluster.target == JobStatus.FAILED
    assert running.reason_of(cluster.name) == (
        "SLURM did not take the scheduler's job: 'submit' failed: Unable to contact slurm controller. Try again later."
    )
    assert running.submitting == set()
