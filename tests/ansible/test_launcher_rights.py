"""The launcher's socket: the gateway's account alone opens it, and gets a closed list of actions as members only."""

import json
import secrets
from typing import Any

import pytest
from testinfra.host import Host

from gateway.slurm import cluster_folder
from testbed import hub
from tests.ansible.hosts import call_launcher, run_as, site

pytestmark = pytest.mark.e2e

CLUSTER = "0" * 32
ALICE = {"username": "alice", "uid": 20001, "gid": 20000}
SOCKET_UNIT = "dask-gateway-launcher.socket"


def answer(host: Host, request: object, account: str = "") -> dict[str, Any]:
    ended = call_launcher(host, account or site().slurm.system_user, json.dumps(request))
    assert ended.rc == 0, ended.stderr
    return dict(json.loads(ended.stdout))


@pytest.mark.finding("R2")
@pytest.mark.parametrize("account", ["alice", "bob", "nobody"])
def test_other_accounts_can_not_open_the_socket(host: Host, account: str) -> None:
    ended = call_launcher(host, account, "{}")
    assert ended.rc != 0
    assert "PermissionError" in ended.stderr


@pytest.mark.finding("R2")
def test_even_root_is_no_server(host: Host) -> None:
    assert "the account with uid 0 may not call the launcher" in answer(host, {}, "root")["error"]


@pytest.mark.weakness(9)
@pytest.mark.parametrize("action", ["check", "imports", "shell", "", None, ["start"]])
def test_the_gateway_gets_no_other_action(host: Host, action: object) -> None:
    assert answer(host, {"action": action, "cluster": CLUSTER, **ALICE})["ok"] is False


@pytest.mark.weakness(3, 11)
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"uid": 0, "gid": 0}, "this machine gives the account the uid 20001"),
        ({"uid": 20002}, "this machine gives the account the uid 20001"),
        ({"gid": 21001}, "this machine gives the account the uid 20001"),
        ({"username": "root", "uid": 0, "gid": 0}, "are a system account's"),
        ({"username": "paf0001"}, ""),
        ({"username": "nowhere"}, "knows no account"),
    ],
)
def test_the_launcher_acts_only_as_members(host: Host, changed: dict[str, object], said: str) -> None:
    found = answer(host, {"action": "discard", "cluster": CLUSTER, **ALICE, **changed})
    assert found["ok"] is False
    assert said in found["error"]


@pytest.fixture
def tokens() -> dict[str, str]:
    """Return what a taken-over server may send in place of alice's token: kind of the token -> token."""
    hub.ensure_hub()
    hub.ensure_tokens()
    return {"none": "", "made up": secrets.token_hex(16), "bob's": hub.token("bob")}


JOB = {"options": {"job-name": "dask-gateway"}, "log": cluster_folder.WORKER_LOG, "script": "#!/bin/sh\nid\n"}


@pytest.mark.finding("R6")
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("none", "the request lacks the user's token of JupyterHub"),
        ("made up", "JupyterHub does not know the request's token"),
        ("bob's", "the request's token is not the one of 'alice'"),
    ],
)
def test_no_cluster_starts_without_the_users_token(host: Host, tokens: dict[str, str], kind: str, said: str) -> None:
    cluster = secrets.token_hex(16)
    start = {"action": "start", "cluster": cluster, **ALICE, "files": {}, "job": JOB, "token": tokens[kind]}
    assert answer(host, start) == {"ok": False, "error": f"RequestError: {said}"}
    staging = cluster_folder.staging_directory(site().slurm.staging_directory, "alice")
    assert not host.file(cluster_folder.folder(staging, cluster)).exists
    assert not host.file(cluster_folder.cluster_logs(staging, cluster)).exists
    # What a start did not make gets no job either.
    assert (
        "has no folder of the user" in answer(host, {"action": "submit", "cluster": cluster, **ALICE, **JOB})["error"]
    )
    assert cluster not in host.check_output("squeue --noheader --all --format=%Z")


@pytest.mark.finding("R6")
def test_with_the_users_token_the_same_cluster_starts(host: Host, tokens: dict[str, str]) -> None:
    """SLURM does not take the job, because its option is unknown, so that the folder alone is made."""
    cluster = secrets.token_hex(16)
    job = {**JOB, "options": {"unknown": ""}}
    request = {"cluster": cluster, **ALICE}
    start = {"action": "start", **request, "files": {}, "job": job, "token": hub.token("alice")}
    try:
        assert answer(host, start) == {"ok": True}
    finally:
        assert answer(host, {"action": "discard", **request}) == {"ok": True}


@pytest.mark.finding("R2")
def test_the_gateways_account_has_no_sudo(host: Host) -> None:
    assert not host.file("/etc/sudoers.d/dask-gateway").exists
    ended = run_as(host, site().slurm.system_user, ["sudo", "-n", "-u", "alice", "id"])
    assert ended.rc != 0
    # Not even if it had a rule: its unit gains no rights.
    assert host.service("dask-gateway.service").systemd_properties["NoNewPrivileges"] == "yes"


def test_the_socket_is_the_gateways_alone(host: Host) -> None:
    path = host.file(site().slurm.launcher.socket)
    assert (path.user, path.mode) == (site().slurm.system_user, 0o600)
    socket = host.service(SOCKET_UNIT)
    assert socket.is_running
    assert socket.is_enabled


@pytest.mark.finding("B10")
def test_a_call_is_bounded(host: Host) -> None:
    launcher = site().slurm.launcher
    shown = host.check_output("systemctl show dask-gateway-launcher@0.service")
    properties = dict(line.partition("=")[::2] for line in shown.splitlines())
    assert properties["MemoryMax"] == str(launcher.memory_mib * 2**20)
    assert properties["TasksMax"] == str(launcher.processes)
    assert properties["KillMode"] == "control-group"
    assert properties["RuntimeMaxUSec"] in {f"{launcher.seconds}s", f"{launcher.seconds // 60}min"}
    assert set(properties["CapabilityBoundingSet"].split()) == {"cap_setgid", "cap_setuid"}
    assert properties["NoNewPrivileges"] == "yes"


@pytest.mark.finding("B10")
def test_no_unit_of_a_call_stays(host: Host) -> None:
    answer(host, {})
    assert host.check_output("systemctl list-units --all --no-legend --state=failed 'dask-gateway-launcher@*'") == ""
