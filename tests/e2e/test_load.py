"""Many workers, users and clusters at once, on Kubernetes.

Workers are pods on fake nodes: everything but their processes is real. They never register with their scheduler. So the
scheduler has no workers to close and only reports how many the user requests; the controller creates, counts and
deletes pods.
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
from tests.e2e.administration import Administrator
from tests.e2e.back_ends import on_kubernetes
from tests.e2e.fetching import fetch_in_pod
from tests.e2e.load import GONE_SECONDS, late_wakeups
from tests.e2e.machines import RELEASE, SETTINGS, kubectl_clusters, object_name, of_cluster
from tests.e2e.notebooks import Notebook

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.load,
    pytest.mark.timeout(1200),
    on_kubernetes,
]

NAMESPACE = SETTINGS.kubernetes.clusters_namespace
TOTAL = Resources.of_total(SETTINGS.kubernetes.user_total, SETTINGS.kubernetes.maximum_workers.per_user)
SCHEDULER = Resources.of(SETTINGS.kubernetes.scheduler.cores, round(SETTINGS.kubernetes.scheduler.memory_gib * GIB))
CORES, MEMORY_GIB = 0.95, 1.9
WORKER = Resources.of(CORES, round(MEMORY_GIB * GIB))
WANTED, TOO_MANY = 400, 1000
FITTING = fitting(TOTAL - SCHEDULER, WORKER, TOO_MANY)
"""How many workers fit into the user total beside a scheduler."""
NODES, CAPACITY = 10, fake_nodes.Capacity(cores=64, memory_gib=256)
"""More than the user total, so that only the gateway bounds a user."""
CREATED_SECONDS = 180
"""The controller creates 50 pods a second; nodes and controller then update each several times, on two cores."""
QUIET_SECONDS = 10
"""Time in which the controller learns how many workers are requested, and would create surplus ones."""


@pytest.fixture
def nodes_for_workers(no_leftovers: None) -> Iterator[None]:
    """Add fake nodes. A test names this fixture before notebooks, so that their clusters end before the nodes."""
    with fake_nodes.added("fake", NODES, CAPACITY):
        yield


def workers(name: str) -> list[dict[str, Any]]:
    return faults.living_pods(of_cluster(name, names.WORKER_COMPONENT))


def granted(name: str) -> int:
    """Return the number of workers that the controller has granted to a cluster, by the DaskCluster's status."""
    return estimate.workers_of(ended_clusters.described(name))


def await_workers(name: str, count: int) -> None:
    """Wait until the cluster has so many workers, all on fake nodes, and the controller records the number."""

    def running() -> int:
        return sum(pod["status"]["phase"] == "Running" for pod in workers(name))

    until(f"{count} workers run", lambda: running() == count, seconds=CREATED_SECONDS)
    until(f"{count} workers are granted", lambda: granted(name) == count, seconds=QUIET_SECONDS)
    assert len(workers(name)) == count
    assert {pod["spec"]["nodeName"] for pod in workers(name)} <= fake_nodes.names()


def test_workers_are_granted_up_to_the_user_total(
    nodes_for_workers: None, open_notebook: Callable[[str], Notebook], administrator: Administrator
) -> None:
    assert (SCHEDULER + WORKER * FITTING).millicores == TOTAL.millicores
    assert FITTING > WANTED
    before, late = administrator.all_objects(), late_wakeups(Backend.KUBERNETES)
    bob, alice, other = (open_notebook(person) for person in ("bob", "alice", "alice"))
    sizes = {"worker_cores": CORES, "worker_memory": MEMORY_GIB}
    name = bob.run(notebooks.new_cluster({"pixi_project": notebooks.PIXI_PROJECT, **sizes}))
    selector = of_cluster(name, names.WORKER_COMPONENT)
    with (
        pod_watch.watched(NAMESPACE, selector) as events,
        notebooks.repeating(alice, "gateway.list_clusters()") as repetitions,
    ):
        with fake_nodes.taking_all_new_pods():
            assert bob.run(notebooks.warnings_of(f"cluster.scale({WANTED})")) == []
            await_workers(name, WANTED)
            assert len(pod_watch.made(events())) == WANTED

            (warning,) = bob.run(notebooks.warnings_of(f"cluster.scale({TOO_MANY})"))
            assert warning.startswith(f"The cluster gets {FITTING} of the {TOO_MANY} workers that you asked for.")
            await_workers(name, FITTING)
            time.sleep(QUIET_SECONDS)
            assert held(name).millicores == TOTAL.millicores
            assert TOTAL.covers(held(name))
            assert len(pod_watch.made(events())) == FITTING

        # Another user's cluster still starts.
        other.run(notebooks.new_cluster(notebooks.SMALL))
        other.run("cluster.shutdown()")

        with fake_nodes.taking_all_new_pods():
            bob.run("cluster.scale(0)")
            until(
                "no workers are requested", lambda: ended_clusters.described(name)["spec"]["replicas"] == 0, seconds=30
            )
            time.sleep(QUIET_SECONDS)
            # Only the scheduler closes running workers; here the fake nodes report that they have ended.
            await_workers(name, FITTING)
            fake_nodes.end_pods(NAMESPACE, selector)
            until("ended workers are gone", lambda: not pods_of(selector), seconds=CREATED_SECONDS)
            until("no worker is granted", lambda: granted(name) == 0, seconds=QUIET_SECONDS)
            assert len(pod_watch.made(events())) == FITTING

            bob.run(f"cluster.scale({WANTED})")
            await_workers(name, WANTED)
            assert len(pod_watch.made(events())) == FITTING + WANTED

        bob.run("cluster.shutdown()")
        until("no worker is left", lambda: not pods_of(selector), seconds=GONE_SECONDS)
        assert len(pod_watch.made(events())) == FITTING + WANTED
        assert pod_watch.most(events()) == FITTING
        assert repetitions() > 50
    administrator.await_no_leftovers(before, seconds=GONE_SECONDS)
    assert administrator.object_kinds(name) == set()
    assert late_wakeups(Backend.KUBERNETES) == late


def held(name: str) -> Resources:
    """Return the resources that the pods of a cluster hold, its scheduler's included."""
    entries = [entry_of(pod) for pod in faults.living_pods(of_cluster(name))]
    return sum_of(entry.amount for entry in entries if entry is not None)


def pods_of(selector: str) -> list[str]:
    """Return all pods of a selector, also those that are being deleted."""
    return kubectl_clusters("get", "pods", "--selector", selector, "--output", "name").split()


def test_many_users_create_clusters_at_once(no_leftovers: None, administrator: Administrator) -> None:
    before, known = administrator.all_objects(), clusters()
    members = crowd.members(gateways.USERS)
    people = [member.name for member in members]
    with crowd.logged_in(members) as tokens, sides.client(sides.ours(Backend.KUBERNETES), people, tokens) as client:
        reply = client.ask("crowd", options=[{**notebooks.SMALL, "env": member.env} for member in members])
    assert reply["errors"] == []
    assert len(reply["seconds"]) == gateways.USERS

    administrator.await_no_leftovers(before, seconds=GONE_SECONDS)
    made = {name: cluster for name, cluster in clusters().items() if name not in known}
    assert sorted(cluster["spec"]["username"] for cluster in made.values()) == sorted(people)
    assert {cluster["status"]["phase"] for cluster in made.values()} == {"Stopped"}
    assert {name: kinds for name in made if (kinds := administrator.object_kinds(name))} == {}


def clusters() -> dict[str, Mapping[str, Any]]:
    """Return ``NAMESPACE.NAME`` -> DaskCluster, for all clusters that Kubernetes knows."""
    listed = json.loads(kubectl_clusters("get", ended_clusters.KIND, "--output", "json"))["items"]
    return {f"{item['metadata']['namespace']}.{item['metadata']['name']}": item for item in listed}


def test_a_long_list_of_clusters_is_correct_at_each_replica(
    open_notebook: Callable[[str], Notebook], administrator: Administrator
) -> None:
    before = administrator.all_objects()
    bob = open_notebook("bob")
    name = bob.run(notebooks.new_cluster(notebooks.SMALL))
    original = ended_clusters.described(name)
    bob.run("cluster.shutdown()")
    administrator.await_no_leftovers(before, seconds=GONE_SECONDS)

    replicas = pods_of(names.selector(names.component_labels(RELEASE, names.API_COMPONENT)))
    assert len(replicas) == SETTINGS.kubernetes.api_replicas
    with ended_clusters.added(original, gateways.LISTED):
        expected = ended_of("bob")
        assert len(expected) > gateways.LISTED
        for replica in replicas:
            await_list(replica, set(expected))
            assert listed_by(replica) == expected
        assert bob.run("sorted(report.name for report in gateway.list_clusters(status='stopped'))") == sorted(expected)
        assert bob.run("len(gateway.list_clusters())") == 0
        others = open_notebook("alice").run("[report.name for report in gateway.list_clusters(status='stopped')]")
        assert not set(others) & set(expected)
    for replica in replicas:
        await_list(replica, set(ended_of("bob")))
    assert administrator.all_objects() - before == {f"daskcluster.gateway.dask.org/{object_name(name)}"}


def ended_of(person: str) -> dict[str, dict[str, Any]]:
    """Return a person's stopped clusters as the API should list them, from the objects in Kubernetes."""
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
    """Return bob's stopped clusters as one replica of the API lists them."""
    address = f"http://127.0.0.1:{names.API_PORT}/api/v1/clusters/?status=stopped"
    status, text = fetch_in_pod(replica, address, {"Authorization": f"jupyterhub {hub.token('bob')}"})
    assert status == 200, text
    return dict(json.loads(text))


def await_list(replica: str, expected: set[str]) -> None:
    """Wait until a replica lists these clusters; each replica watches Kubernetes by itself."""
    until(f"{replica} lists them all", lambda: set(listed_by(replica)) == expected, seconds=QUIET_SECONDS)
