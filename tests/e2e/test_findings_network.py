"""Users' code reaches its own cluster, DNS and listed data servers, and none of the facility's other machines and pods.

The testbed's machine may have no Internet: that public addresses are open is shown of the policies (tests/infra).
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from gateway.kubernetes import names
from gateway.site import Backend
from testbed import cluster, docker, notebook
from tests.e2e import notebooks
from tests.e2e.back_ends import on_kubernetes
from tests.e2e.faults import living_pods
from tests.e2e.machines import RELEASE, SETTINGS, of_cluster
from tests.e2e.notebooks import Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

REACHED = """
def reached(places):
    import socket
    from concurrent.futures import ThreadPoolExecutor
    def connects(place):
        try:
            socket.create_connection(place, timeout=2).close()
        except OSError:
            return False
        return True
    with ThreadPoolExecutor(len(places)) as pool:
        return sorted(name for name, answer in zip(places, pool.map(connects, places.values())) if answer)
"""
"""A function: name -> (host, port) of places; it returns the names of those that accept a TCP connection.

A closed place refuses or is silent: the kernel limits how often it says that a packet was refused.
"""
Places = dict[str, tuple[str, int]]


class Clusters(NamedTuple):
    """Bob's cluster with two workers, and alice's with one."""

    bob: Notebook
    bobs_name: str
    alice: Notebook
    alices_name: str


@pytest.fixture(scope="module")
def clusters(backend: Backend, no_leftovers: None) -> Iterator[Clusters]:
    with notebooks.connected("bob", backend) as bob, notebooks.connected("alice", backend) as alice:
        bob.run(REACHED)
        yield Clusters(bob, notebooks.start_cluster(bob, workers=2), alice, notebooks.start_cluster(alice))


def addresses(selector: str) -> list[str]:
    """Return the addresses of the pods of a selector."""
    return [pod["status"]["podIP"] for pod in living_pods(selector)]


def workers(kernel: Notebook) -> Places:
    """Return where the workers of a notebook's cluster and their nannies listen."""
    listing = "[[worker['id'], worker['nanny'], address] for address, worker in workers.items()]"
    found = kernel.run(f"workers = client.scheduler_info()['workers']\n{listing}")
    places = {
        f"{kind} of {name}": url for name, *urls in found for kind, url in zip(("nanny", "worker"), urls, strict=True)
    }
    return {name: _place(url) for name, url in places.items()}


def _place(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("tls://").rsplit(":", 1)
    return host, int(port)


def forbidden(alice: Notebook, alices_name: str) -> Places:
    """Return the places that no code of bob's may reach."""
    (node,) = json.loads(cluster.kubectl("get", "nodes", "--selector", "kubernetes.io/os", "--output", "json"))["items"]
    (inside,) = (item["address"] for item in node["status"]["addresses"] if item["type"] == "InternalIP")
    kubernetes = json.loads(
        cluster.kubectl("--namespace", "default", "get", "service", "kubernetes", "--output", "json")
    )
    hub, directory = (
        (destination.addresses[0].removesuffix("/32"), destination.ports[0])
        for destination in SETTINGS.identity_services
    )
    (scheduler,) = addresses(of_cluster(alices_name, names.SCHEDULER_COMPONENT))
    own = {
        component: addresses(names.selector(names.component_labels(RELEASE, component)))[0]
        for component in (names.API_COMPONENT, "controller", "traefik")
    }
    return {
        "kubelet": (inside, 10250),
        "etcd": (inside, 2379),
        "Kubernetes' API server": (inside, 6443),
        "its Service": (kubernetes["spec"]["clusterIP"], 443),
        "hub": hub,
        "directory": directory,
        "submission host's sshd": (SETTINGS.slurm.submission_address, 22),
        "metrics of the API": (own[names.API_COMPONENT], names.METRICS_PORT),
        "metrics of the controller": (own["controller"], names.METRICS_PORT),
        "Traefik": (own["traefik"], names.SCHEDULER_PORT),
        "alice's scheduler": (scheduler, names.SCHEDULER_PORT),
        "alice's dashboard": (scheduler, names.DASHBOARD_PORT),
        "API of alice's scheduler": (scheduler, names.SCHEDULER_API_PORT),
        **workers(alice),
    }


@pytest.mark.finding("R9")
@on_kubernetes
def test_users_code_reaches_no_other_machine_and_no_other_pod(backend: Backend, clusters: Clusters) -> None:
    places = forbidden(clusters.alice, clusters.alices_name)
    command = f"{REACHED}\nimport json, sys\nprint(json.dumps(reached(json.load(sys.stdin))))"
    listening = json.loads(docker.execute(cluster.NODE, ["python3", "-c", command], standard_input=json.dumps(places)))
    assert listening == sorted(places), "each of these places accepts connections from the node"
    code = f"reached({places!r})"
    assert notebooks.on_worker(clusters.bob, code) == []
    assert clusters.bob.run(f"client.run_on_scheduler(reached, {places!r})") == []


@pytest.mark.finding("R9")
@on_kubernetes
def test_users_code_reaches_its_own_cluster_and_listed_data_servers(backend: Backend, clusters: Clusters) -> None:
    bob, namespace = clusters.bob, SETTINGS.kubernetes.namespace
    data_port = bob.run("import socket\nserver = socket.create_server(('0.0.0.0', 0))\nserver.getsockname()[1]")
    (scheduler,) = addresses(of_cluster(clusters.bobs_name, names.SCHEDULER_COMPONENT))
    own = workers(bob)
    assert len(own) == 4
    places = {
        **own,
        "scheduler": (scheduler, names.SCHEDULER_PORT),
        "data server": (notebook.ADDRESS, data_port),
    }
    api = {"API": (f"{names.api_name(RELEASE)}.{namespace}", names.API_PORT)}
    assert notebooks.on_worker(bob, f"reached({ {**places, **api}!r})") == sorted(places)
    assert bob.run(f"client.run_on_scheduler(reached, { {**own, **api}!r})") == sorted({**own, **api})


@pytest.mark.finding("R9")
@on_kubernetes
def test_a_tasks_data_goes_from_worker_to_worker(backend: Backend, clusters: Clusters) -> None:
    """By DNS and the port of the other worker."""
    moved = """
first, second = list(client.scheduler_info()["workers"])[:2]
made = client.submit(lambda: [6, 7], workers=[first], pure=False)
client.submit(lambda pair: pair[0] * pair[1], made, workers=[second], pure=False).result(timeout=60)
"""
    assert clusters.bob.run(moved) == 42
