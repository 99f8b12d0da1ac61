"""Only JupyterHub says who a user is: claims, unknown tokens, a hub that hangs, and lines that tell what users did."""

import ipaddress
import json
import secrets
from collections.abc import Iterator

import pytest

from gateway.site import Backend
from testbed import docker, hub, submission
from testbed.waiting import until
from tests.e2e import faults, notebooks, scraping
from tests.e2e.administration import identity_of
from tests.e2e.back_ends import on_kubernetes
from tests.e2e.fetching import fetch
from tests.e2e.machines import API, SETTINGS, kubectl
from tests.e2e.notebooks import CellError, Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MOST_QUESTIONS = 40
"""Bound of the hub's requests for a flood, over all replicas of the gateway."""
FLOOD = """
import secrets, urllib.error, urllib.request

def flood(kind, method, path, times):
    statuses = []
    for number in range(times):
        unknown = secrets.token_hex(16)
        headers = {"Authorization": f"{kind} {unknown}", "Content-Type": "application/json"}
        address = ADDRESS + path.replace("NAME", f"x{number}")
        data = b"{}" if method == "POST" else None
        request = urllib.request.Request(address, method=method, data=data, headers=headers)
        try:
            statuses.append(urllib.request.urlopen(request, timeout=30).status)
        except urllib.error.HTTPError as error:
            statuses.append(error.code)
    return statuses
"""


@pytest.fixture
def alice_at(backend: Backend, no_leftovers: None) -> Iterator[Notebook]:
    """Return alice's notebook, whose token each replica knows, with the function ``flood``."""
    with notebooks.connected("alice", backend) as kernel:
        kernel.run("for _ in range(20):\n    gateway.list_clusters()")
        kernel.run(f"ADDRESS = {SETTINGS.gateway(backend).address!r}\n{FLOOD}")
        yield kernel
    # Newcomers of the tests that follow have the same source address.
    token = hub.request_token("alice", hub.password("alice"), lifetime_seconds=60)
    until("a new token is accepted", lambda: not _is_limited(backend, token), seconds=30)


def _is_limited(backend: Backend, token: str) -> bool:
    """Return whether a replica of the gateway refuses the token for those that came before."""
    return any(_status(backend, token)[0] == 429 for _ in range(4))


def _status(backend: Backend, token: str) -> tuple[int, str]:
    """Return what the gateway answers to a user's token."""
    return fetch(f"{SETTINGS.gateway(backend).address}/api/v1/clusters/", {"Authorization": f"jupyterhub {token}"})


@pytest.mark.finding("R8")
@on_kubernetes
def test_the_account_of_another_pool_user_is_refused(backend: Backend) -> None:
    """frank names erin's account; JupyterHub has lent him another one."""
    own, _, _ = identity_of("frank-fnal")
    uid, gid, _ = identity_of("erin-fnal")
    options = {"pixi_project": notebooks.PIXI_PROJECT, "env": {"NB_UID": str(uid), "NB_GID": str(gid)}}
    with notebooks.connected("frank-fnal", backend) as kernel, pytest.raises(CellError) as refused:
        kernel.run(notebooks.new_cluster(options))
    assert refused.value.message == (f"env['NB_UID'] is not {own}, which your account has: pass os.environ['NB_UID'].")


@pytest.mark.finding("R4g")
def test_a_flood_of_unknown_tokens_asks_the_hub_a_few_times(backend: Backend, alice_at: Notebook) -> None:
    before = _questions(backend)
    statuses = alice_at.run("flood('jupyterhub', 'GET', '/api/v1/clusters/', 60)")
    assert _questions(backend) - before <= MOST_QUESTIONS
    assert set(statuses) == {401, 429}
    # Known users have the same source address, and work on.
    alice_at.run("for _ in range(10):\n    gateway.list_clusters()")


def _questions(backend: Backend) -> float:
    return scraping.value(backend, "dask_gateway_hub_requests_total", subject="token")


@pytest.mark.finding("R4g")
def test_a_flood_of_wrong_tokens_of_clusters_is_refused(backend: Backend, alice_at: Notebook) -> None:
    prefix = f"{SETTINGS.kubernetes.clusters_namespace}." if backend is Backend.KUBERNETES else ""
    path = f"/api/v1/clusters/{prefix}NAME/heartbeat"
    assert set(alice_at.run(f"flood('token', 'POST', {path!r}, 80)")) == {401, 429}
    alice_at.run("gateway.list_clusters()")


@pytest.mark.finding("B9")
def test_a_hub_that_hangs_is_named_with_advice(backend: Backend) -> None:
    with faults.paused_machine(hub.NAME):
        status, text = _status(backend, hub.token("alice"))
    assert (status, "try again in a minute" in text) == (502, True), text


@pytest.mark.finding("R10")
def test_each_change_of_a_cluster_has_an_audit_line(backend: Backend, no_leftovers: None) -> None:
    secret = f"canary-{secrets.token_hex(12)}"
    with notebooks.connected("alice", backend) as kernel:
        name = kernel.run(notebooks.new_cluster({**notebooks.SMALL, "env": {"SECRET": secret}}))
        kernel.run("cluster.scale(0)\ncluster.adapt(minimum=0, maximum=1)\ncluster.shutdown()")
    wanted = {"create", "scale", "adapt", "stop"}
    until("all lines are written", lambda: wanted <= {line["action"] for line in _lines(backend, name)}, seconds=30)
    lines = [line for line in _lines(backend, name) if line["user"] == "alice"]
    assert wanted <= {line["action"] for line in lines}
    assert {line["outcome"] for line in lines} == {"accepted"}
    assert all(ipaddress.ip_address(line["source"]) for line in lines)
    assert secret not in _log(backend)
    assert hub.token("alice") not in _log(backend)


def _lines(backend: Backend, cluster: str) -> list[dict[str, str]]:
    """Return the audit lines of a cluster."""
    found = [line for line in _log(backend).splitlines() if "gateway.audit]" in line and cluster in line]
    return [json.loads(line[line.index("{") : line.rindex("}") + 1]) for line in found]


def _log(backend: Backend) -> str:
    if backend is Backend.KUBERNETES:
        return kubectl("logs", API, "--all-pods", "--tail=-1")
    return docker.execute(submission.CONTAINER, ["journalctl", "--no-pager", "--unit", "dask-gateway"])
