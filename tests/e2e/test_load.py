"""Many workers, users and clusters at once, on Kubernetes.

Workers are pods on fake nodes: all but their processes is real. They never register with their scheduler, so it has
none to close, and says no more of a wish than its number; who makes, counts and removes pods is the controller.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from dask_gateway_server.backends.kubernetes.utils import parse_k8s_timestamp

from gateway.kubernetes import names
from gateway.kubernetes.api import estimate
from gateway.kubernetes.controller.ledger import entry_of
from gateway.request.quota import Resources, fitting, sum_of
from gateway.site import GIB, Backend
from testbed import fake_nodes, hub, pod_watch
from testbed.bench import crowd, ended_clusters, gateways, sides
from testbed.waiting import until
from tests.e2e import faults, notebooks
from tests.e2e.administration import SETTINGS, Administrator, fetch_in_pod, kubectl, of_cluster
from tests.e2e.load import GONE_SECONDS, late_wakes, no_orphans
from tests.e2e.notebooks import Notebook

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.load,
    pytest.mark.timeout(1200),
    pytest.mark.parametrize("backend", [Backend.KUBERNETES], indirect=True, scope="session", ids=str),
]

NAMESPACE, RELEASE = SETTINGS.kubernetes.namespace, SETTINGS.kubernetes.release
TOTAL = Resources.of_total(SETTINGS.kubernetes.user_total)
SCHEDULER = Resources.of(SETTINGS.kubernetes.scheduler.cores, round(SETTINGS.kubernetes.scheduler.memory_gib * GIB))
CORES, MEMORY_GIB = 0.95, 1.9
WORKER = Resources.of(CORES, round(MEMORY_GIB * GIB))
WANTED, TOO_MANY = 400, 1000
FITTING = fitting(TOTAL - SCHEDULER, WORKER, TOO_MANY)
"""How many workers the total leaves room for."""
NODES, CAPACITY = 10, fake_nodes.Capacity(cores=64, memory_gib=256)
"""More than the total: what bounds a user is the gateway."""
MADE_SECONDS = 180
"""The controller asks for 50 pods a second; then nodes and controller tell of each several times, on two cores."""
QUIET_SECONDS = 10
"""In which the controller learns of a wish, and would make what is too much."""


@pytest.fixture
def room(no_leftovers: None) -> Iterator[None]:
    """Fake nodes; to be asked for before notebooks, so that their clusters end first."""
    with fake_nodes.added("fake", NODES, CAPACITY):
        yield


def workers(name: str) -> list[dict[str, Any]]:
    return faults.living_pods(of_cluster(name, names.WORKER_COMPONENT))


def noted(name: str) -> int:
    """How many workers the controller says that a cluster has."""
    return estimate.workers_of(ended_clusters.described(name))


def has_workers(name: str, count: int) -> None:
    """The cluster gets that many, all of them run on fake nodes, and the controller says so."""

    def running() -> int:
        return sum(pod["status"]["phase"] == "Running" for pod in workers(name))

    until(f"{count} workers run", lambda: running() == count, seconds=MADE_SECONDS)
    until(f"{count} workers are noted", lambda: noted(name) == count, seconds=QUIET_SECONDS)
    assert len(workers(name)) == count
    assert {pod["spec"]["nodeName"] for pod in workers(name)} <= fake_nodes.names()


def test_workers_up_to_the_total_and_no_more(
    room: None, open_notebook: Callable[[str], Notebook], administrator: Administrator
) -> None:
    assert (SCHEDULER + WORKER * FITTING).millicores == TOTAL.millicores
    assert FITTING > WANTED
    before, late = administrator.everything(), late_wakes(Backend.KUBERNETES)
    bob, alice, other = (open_notebook(person) for person in ("bob", "alice", "alice"))
    sizes = {"worker_cores": CORES, "worker_memory": MEMORY_GIB}
    name = bob.run(notebooks.new_cluster({"pixi_project": notebooks.PIXI_PROJECT, **sizes}))
    selector = of_cluster(name, names.WORKER_COMPONENT)
    with (
        pod_watch.watched(NAMESPACE, selector) as events,
        notebooks.asked_all_the_time(alice, "gateway.list_clusters()") as asked,
    ):
        with fake_nodes.taking_all_new_pods():
            assert bob.run(notebooks.warnings_of(f"cluster.scale({WANTED})")) == []
            has_workers(name, WANTED)
            assert len(pod_watch.made(events())) == WANTED

            (warning,) = bob.run(notebooks.warnings_of(f"cluster.scale({TOO_MANY})"))
            assert warning.startswith(f"The cluster gets {FITTING} of the {TOO_MANY} workers that you asked for.")
            has_workers(name, FITTING)
            time.sleep(QUIET_SECONDS)
            assert held(name).millicores == TOTAL.millicores
            assert TOTAL.covers(held(name))
            assert len(pod_watch.made(events())) == FITTING

        # Somebody else finds room beside them.
        other.run(notebooks.new_cluster(notebooks.SMALL))
        other.run("cluster.shutdown()")

        with fake_nodes.taking_all_new_pods():
            bob.run("cluster.scale(0)")
            until("nothing is wished for", lambda: ended_clusters.described(name)["spec"]["replicas"] == 0, seconds=30)
            time.sleep(QUIET_SECONDS)
            # What runs is the scheduler's to close, and ends then.
            has_workers(name, FITTING)
            fake_nodes.end_pods(NAMESPACE, selector)
            until("ended workers are gone", lambda: not pods_of(selector), seconds=MADE_SECONDS)
            until("no worker is noted", lambda: noted(name) == 0, seconds=QUIET_SECONDS)
            assert len(pod_watch.made(events())) == FITTING

            bob.run(f"cluster.scale({WANTED})")
            has_workers(name, WANTED)
            assert len(pod_watch.made(events())) == FITTING + WANTED

        bob.run("cluster.shutdown()")
        until("no worker is left", lambda: not pods_of(selector), seconds=GONE_SECONDS)
        assert len(pod_watch.made(events())) == FITTING + WANTED
        assert pod_watch.most(events()) == FITTING
        assert asked() > 50
    no_orphans(administrator, before)
    assert administrator.pieces(name) == set()
    assert late_wakes(Backend.KUBERNETES) == late


def held(name: str) -> Resources:
    """What the pods of a cluster request, its scheduler's included."""
    entries = [entry_of(pod) for pod in faults.living_pods(of_cluster(name))]
    return sum_of(entry.amount for entry in entries if entry is not None)


def pods_of(selector: str) -> list[str]:
    """All of them, also those that are on their way out."""
    return kubectl("get", "pods", "--selector", selector, "--output", "name").split()


def test_many_users_at_once(no_leftovers: None, administrator: Administrator) -> None:
    before, known = administrator.everything(), clusters()
    members = crowd.members(gateways.USERS)
    people = [member.name for member in members]
    with crowd.logged_in(members) as tokens, sides.client(sides.ours(Backend.KUBERNETES), people, tokens) as client:
        got = client.ask("crowd", options=[{**notebooks.SMALL, "env": member.env} for member in members])
    assert got["errors"] == []
    assert len(got["seconds"]) == gateways.USERS

    no_orphans(administrator, before)
    made = {name: cluster for name, cluster in clusters().items() if name not in known}
    assert sorted(cluster["spec"]["username"] for cluster in made.values()) == sorted(people)
    assert {cluster["status"]["phase"] for cluster in made.values()} == {"Stopped"}
    assert {name: pieces for name in made if (pieces := administrator.pieces(name))} == {}


def clusters() -> dict[str, Mapping[str, Any]]:
    """All clusters that Kubernetes knows, by ``NAMESPACE.NAME``."""
    listed = json.loads(kubectl("get", ended_clusters.KIND, "--output", "json"))["items"]
    return {f"{item['metadata']['namespace']}.{item['metadata']['name']}": item for item in listed}


def test_a_long_list_is_complete_and_right_at_each_replica(
    open_notebook: Callable[[str], Notebook], administrator: Administrator
) -> None:
    before = administrator.everything()
    bob = open_notebook("bob")
    name = bob.run(notebooks.new_cluster(notebooks.SMALL))
    original = ended_clusters.described(name)
    bob.run("cluster.shutdown()")
    no_orphans(administrator, before)

    replicas = pods_of(names.selector(names.component_labels(RELEASE, names.API_COMPONENT)))
    assert len(replicas) == SETTINGS.kubernetes.api_replicas
    with ended_clusters.added(original, gateways.LISTED):
        expected = ended_of("bob")
        assert len(expected) > gateways.LISTED
        for replica in replicas:
            learns(replica, set(expected))
            assert listed_by(replica) == expected
        assert bob.run("sorted(report.name for report in gateway.list_clusters(status='stopped'))") == sorted(expected)
        assert bob.run("len(gateway.list_clusters())") == 0
        others = open_notebook("alice").run("[report.name for report in gateway.list_clusters(status='stopped')]")
        assert not set(others) & set(expected)
    for replica in replicas:
        learns(replica, set(ended_of("bob")))
    assert administrator.everything() - before == {f"daskcluster.gateway.dask.org/{name.rpartition('.')[2]}"}


def ended_of(person: str) -> dict[str, dict[str, Any]]:
    """A person's clusters that were stopped, as Kubernetes has them, in the words of the API."""
    return {
        name: {
            "name": name,
            "status": "STOPPED",
            "options": cluster["spec"]["options"],
            "start_time": parse_k8s_timestamp(cluster["metadata"]["creationTimestamp"]),
            "stop_time": parse_k8s_timestamp(cluster["status"]["completionTime"]),
            "dashboard_route": None,
            "tls_cert": None,
            "tls_key": None,
        }
        for name, cluster in clusters().items()
        if cluster["spec"]["username"] == person and cluster.get("status", {}).get("phase") == "Stopped"
    }


def listed_by(replica: str) -> dict[str, dict[str, Any]]:
    """Bob's clusters that were stopped, as one replica of the API lists them."""
    address = f"http://127.0.0.1:{names.API_PORT}/api/v1/clusters/?status=stopped"
    status, text = fetch_in_pod(replica, address, {"Authorization": f"jupyterhub {hub.token('bob')}"})
    assert status == 200, text
    return dict(json.loads(text))


def learns(replica: str, expected: set[str]) -> None:
    """Each replica learns of clusters by itself."""
    until(f"{replica} lists them all", lambda: set(listed_by(replica)) == expected, seconds=QUIET_SECONDS)
