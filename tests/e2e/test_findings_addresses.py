"""A scheduler's messages tell no address: the gateway knows from SLURM or Kubernetes where a scheduler is."""

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.kubernetes import names
from gateway.kubernetes.controller.lifecycle import is_ready
from gateway.site import Backend
from gateway.slurm import cluster_folder
from testbed import docker
from testbed.waiting import until
from tests.e2e import faults, notebooks
from tests.e2e.administration import SlurmAdministrator
from tests.e2e.back_ends import on_kubernetes, on_slurm
from tests.e2e.faults import living_pods
from tests.e2e.machines import RELEASE, SETTINGS, SLURMCTLD, kubectl_clusters, of_cluster
from tests.e2e.notebooks import Notebook, on_worker
from tests.e2e.test_impersonation import REQUEST

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

LOOPBACK = f"http://127.0.0.1:{SETTINGS.slurm.metrics_port}"
HEARTBEAT = {
    "count": 0,
    "active_workers": [],
    "closing_workers": [],
    "closed_workers": [],
    "scheduler_address": f"tls://{SETTINGS.slurm.submission_address}:22",
    "dashboard_address": LOOPBACK,
    "api_address": LOOPBACK,
}
MALFORMED = [
    {"dashboard_address": 123},
    {"dashboard_address": "x" * 70_000},
    {"count": "many"},
    {"active_workers": {"a": 1}},
    {"closed_workers": [["a"]]},
]
PENDING = "[report.name for report in gateway.list_clusters(status='pending')]"
REPORTS = 40


@pytest.fixture
def bob(backend: Backend, no_leftovers: None) -> Iterator[Notebook]:
    """Return a notebook with the function ``send``, which makes any request to the gateway's API."""
    with notebooks.connected("bob", backend) as kernel:
        kernel.run(f"ADDRESS = {SETTINGS.gateway(backend).address!r}\n{REQUEST}")
        yield kernel


def post(kernel: Notebook, name: str, route: str, token: str, body: object) -> int:
    """Send a message in the name of a cluster's scheduler; return the status of the answer."""
    header = {"Authorization": f"token {token}"}
    path = f"/api/v1/clusters/{name}/{route}"
    return int(kernel.run(f"send('POST', {path!r}, body={body!r}, headers={header!r})[0]"))


def token_of(kernel: Notebook) -> str:
    """Return the token of the notebook's cluster."""
    return str(on_worker(kernel, "open(os.environ['DASK_GATEWAY_API_TOKEN']).read()"))


@on_slurm
@pytest.mark.finding("R3")
@pytest.mark.finding("R4b")
@pytest.mark.finding("R4c")
def test_a_first_heartbeat_tells_no_address(bob: Notebook, administrator: SlurmAdministrator) -> None:
    """Bob forges his scheduler's first heartbeat while its job waits; then the scheduler itself starts."""
    nodes = docker.execute(SLURMCTLD, ["sinfo", "--noheader", "--format", "%N"]).strip()
    with faults.drained(nodes):
        submit = f"gateway.submit(**{notebooks.SMALL!r})"
        bob.run(f"import threading\nthreading.Thread(target=lambda: {submit}, daemon=True).start()")
        until("the cluster is pending", lambda: bool(bob.run(PENDING)), seconds=30)
        (name,) = bob.run(PENDING)
        until("its job waits", lambda: "job" in administrator.object_kinds(name), seconds=30)
        token = (administrator.folder("bob", name) / cluster_folder.TOKEN).read_text()
        statuses = [post(bob, name, "heartbeat", token, HEARTBEAT | change) for change in ({}, *MALFORMED)]
        assert statuses == [422] * len(statuses)
        assert administrator.route(name) == set()
    bob.run(f"cluster = gateway.connect({name!r}, shutdown_on_close=True)", seconds=120)
    bob.run(notebooks.scale_and_connect(1))
    heartbeat = {**HEARTBEAT, "count": 1, "active_workers": on_scheduler(bob)}
    assert post(bob, name, "heartbeat", token, heartbeat) == 200
    assert on_worker(bob, "6 * 7") == 42
    assert administrator.route(name) == {"route"}


def on_scheduler(kernel: Notebook) -> list[str]:
    """Return the names of the cluster's workers."""
    return list(kernel.run("[worker['name'] for worker in client.scheduler_info()['workers'].values()]"))


@on_kubernetes
@pytest.mark.finding("R4a")
def test_a_scheduler_is_routed_to_at_its_pods_address(bob: Notebook) -> None:
    """Bob forges his scheduler's start report while its pod waits for a node: no address is known yet."""
    foreign = living_pods(names.selector(names.component_labels(RELEASE, names.API_COMPONENT)))[0]["status"]["podIP"]
    with faults.cordoned():
        name = bob.run(f"gateway.submit(**{notebooks.SMALL!r})")
        until("the scheduler has a pod", lambda: bool(scheduler_pods(name)), seconds=30)
        token = token_in_secret(name)
        until(
            "the gateway takes the report",
            lambda: post(bob, name, "start", token, {"address": foreign}) == 200,
            seconds=15,
            pause_seconds=2,
        )
    until("the scheduler is ready", lambda: any(map(is_ready, scheduler_pods(name))), seconds=90)
    (scheduler,) = scheduler_pods(name)
    assert endpoint_addresses(name) == [[scheduler["status"]["podIP"]]]
    bob.run(f"cluster = gateway.connect({name!r}, shutdown_on_close=True)\n{notebooks.scale_and_connect(1)}")
    assert post(bob, name, "start", token, {"address": foreign}) == 200
    assert endpoint_addresses(name) == [[scheduler["status"]["podIP"]]]
    assert on_worker(bob, "6 * 7") == 42


def scheduler_pods(name: str) -> list[dict[str, Any]]:
    return living_pods(of_cluster(name, names.SCHEDULER_COMPONENT))


def token_in_secret(name: str) -> str:
    """Return the token of a cluster, which its scheduler's pod mounts."""
    listed = json.loads(kubectl_clusters("get", "secrets", "--selector", of_cluster(name), "--output", "json"))
    (token,) = (item["data"]["api-token"] for item in listed["items"] if "api-token" in item["data"])
    return b64decode(token).decode()


def endpoint_addresses(name: str) -> list[list[str]]:
    """Return the addresses to which the cluster's Service leads."""
    slices = json.loads(kubectl_clusters("get", "endpointslices", "--selector", of_cluster(name), "--output", "json"))
    return [endpoint["addresses"] for item in slices["items"] for endpoint in item["endpoints"]]


@pytest.mark.finding("R4g")
def test_reports_without_distance_are_refused(bob: Notebook) -> None:
    name = notebooks.start_cluster(bob)
    token = token_of(bob)
    for body in ([], "x"):
        assert post(bob, name, "clients", token, body) == 422
    path, header = f"/api/v1/clusters/{name}/clients", {"Authorization": f"token {token}"}
    statuses = bob.run(f"[send('POST', {path!r}, body={{}}, headers={header!r})[0] for _ in range({REPORTS})]")
    assert set(statuses) <= {200, 429}
    assert 429 in statuses
    assert 200 in statuses
    assert on_worker(bob, "6 * 7") == 42
