"""Updates of the Kubernetes gateway while users work: each part restarts, and nobody notices."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from gateway.kubernetes import names
from gateway.site import Backend
from release import process
from testbed import cluster
from testbed.waiting import until
from tests.e2e import faults, notebooks
from tests.e2e.administration import SETTINGS, Administrator, kubectl, of_cluster
from tests.e2e.notebooks import Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

on_kubernetes = pytest.mark.parametrize("backend", [Backend.KUBERNETES], indirect=True, scope="session", ids=str)
RELEASE = SETTINGS.kubernetes.release
API, CONTROLLER, PROXY = (
    f"deployment/{name(RELEASE)}" for name in (names.api_name, names.controller_name, names.proxy_name)
)
NUMBERS = 400
"""Of which each takes a worker a fifth of a second."""
OTHERS_GRACE_SECONDS = 20
"""Longer than Traefik waits for connections to end when nobody tells it how long (10 s), after its drain."""
LARGE = {"pixi_project": notebooks.PIXI_PROJECT, "worker_cores": 64, "worker_memory": 1}
"""A cluster whose workers fit on no node of the testbed: they count, and take nothing."""


def restart(deployment: str) -> None:
    kubectl("rollout", "restart", deployment)
    kubectl("rollout", "status", deployment, "--timeout", "120s")


def restart_all() -> None:
    for deployment in (API, CONTROLLER, PROXY):
        restart(deployment)
    time.sleep(OTHERS_GRACE_SECONDS)


def pods(selector: str) -> dict[str, tuple[str, int]]:
    """Name -> uid and restarts."""
    found = faults.living_pods(selector)
    return {pod["metadata"]["name"]: (pod["metadata"]["uid"], faults.restarts_of(pod)) for pod in found}


def workers_of(name: str) -> int:
    """How many workers a cluster has."""
    return len(pods(of_cluster(name, names.WORKER_COMPONENT)))


def workers_made_for(name: str) -> int:
    """How many workers a cluster ever had: Kubernetes tells of each what became of its wish for a node."""
    events = json.loads(kubectl("get", "events", "--field-selector", "involvedObject.kind=Pod", "--output", "json"))
    found = {event["involvedObject"]["name"] for event in events["items"]}
    return len({pod for pod in found if pod.startswith(f"dask-worker-{name.rpartition('.')[2]}")})


@on_kubernetes
def test_a_computation_goes_on(
    open_notebook: Callable[[str], Notebook], administrator: Administrator, backend: Backend
) -> None:
    kernel = open_notebook("dave-cern")
    for name in ("create", "compute"):
        kernel.snippet(name)
    assert kernel.run("total") == sum(number**2 for number in range(10))
    kernel.run(
        "import time\n"
        "from distributed import Event\n"
        "client.wait_for_workers(2, timeout=120)\n"
        "def square(number):\n"
        "    time.sleep(0.2)\n"
        "    return number**2\n"
        "def total_of(numbers):\n"
        "    Event('restarted').wait()\n"
        "    return sum(numbers)\n"
        f"result = client.submit(total_of, client.map(square, range({NUMBERS})))"
    )
    name = kernel.run("cluster.name")
    connection = kernel.run("client.scheduler_comm.comm.local_address")
    before = pods(of_cluster(name))
    assert len(before) == 3

    with notebooks.asked_all_the_time(kernel, "gateway.get_cluster(cluster.name), gateway.list_clusters()") as asked:
        restart_all()
        assert asked() > 50
    assert not kernel.run("result.done()")
    kernel.run("Event('restarted').set()")

    assert kernel.run("result.result(timeout=120)") == sum(number**2 for number in range(NUMBERS))
    assert pods(of_cluster(name)) == before
    assert kernel.run("client.status") == "running"
    assert kernel.run("client.scheduler_comm.comm.local_address") == connection
    kernel.run("cluster.scale(3)\nclient.wait_for_workers(3, timeout=120)")
    assert kernel.run("other = cluster.get_client(set_as_default=False)\nother.submit(sum, [1, 2]).result(60)") == 3
    assert kernel.run("[report.name for report in gateway.list_clusters()]") == [name]

    kernel.run("other.close()")
    kernel.snippet("shutdown")
    until("nothing is left", lambda: not administrator.pieces(name), seconds=60)


@on_kubernetes
def test_clusters_start_and_end(
    open_notebook: Callable[[str], Notebook], administrator: Administrator, backend: Backend
) -> None:
    kernel = open_notebook("dave-cern")
    kernel.run(
        "import os\n"
        "def once():\n"
        f"    made = gateway.new_cluster(env=dict(os.environ), **{notebooks.SMALL!r})\n"
        "    kept.append(made)\n"
        "    made.scale(1)\n"
        "    client = made.get_client(set_as_default=False)\n"
        "    assert client.submit(sum, [1, 2]).result(60) == 3\n"
        "    made.shutdown()\n"
        "kept = []"
    )
    with notebooks.asked_all_the_time(kernel, "once()") as asked:
        restart_all()
        assert asked() > 1
    until("none is listed", lambda: kernel.run("gateway.list_clusters()") == [], seconds=30)
    for name in kernel.run("[made.name for made in kept]"):
        until(f"nothing is left of {name}", lambda name=name: not administrator.pieces(name), seconds=60)


@pytest.fixture
def two_controllers() -> Iterator[None]:
    """As for a while when one is deleted or its node is lost."""
    kubectl("scale", CONTROLLER, "--replicas", "2")
    until("both run", lambda: len(controllers()) == 2, seconds=60)
    # Until the second one would have begun.
    time.sleep(5)
    try:
        yield
    finally:
        kubectl("scale", CONTROLLER, "--replicas", "1")
        kubectl("rollout", "status", CONTROLLER, "--timeout", "120s")


def controllers() -> set[str]:
    """Pods of the controller that run."""
    selector = names.selector(names.component_labels(RELEASE, "controller"))
    found = json.loads(kubectl("get", "pods", "--selector", selector, "--output", "json"))["items"]
    return {pod["metadata"]["name"] for pod in found if pod["status"]["phase"] == "Running"}


def holder() -> str:
    """The controller that works."""
    lease = json.loads(kubectl("get", "lease", names.controller_name(RELEASE), "--output", "json"))
    return str(lease["spec"].get("holderIdentity", ""))


@on_kubernetes
def test_of_two_controllers_one_works(open_notebook: Callable[[str], Notebook], two_controllers: None) -> None:
    kernel = open_notebook("dave-cern")
    kernel.run("import os")
    name = kernel.run(notebooks.new_cluster(f"env=dict(os.environ), **{LARGE!r}"))
    kernel.run("cluster.scale(3)")
    until("all workers are asked for", lambda: workers_made_for(name) >= 3, seconds=30)
    time.sleep(3)
    # A second one that works makes three more, and they both delete what is too much.
    assert (workers_of(name), workers_made_for(name)) == (3, 3)

    first = holder()
    assert first in controllers()
    kubectl("delete", "pod", first, "--wait=false")
    kernel.run("cluster.scale(5)")
    until("the other one has taken over", lambda: workers_made_for(name) >= 5, seconds=60)
    time.sleep(3)
    assert (workers_of(name), workers_made_for(name)) == (5, 5)
    assert holder() not in {"", first}


@on_kubernetes
@pytest.mark.parametrize("component", ["api", "traefik"])
def test_nodes_are_drained_of_one_replica_at_a_time(backend: Backend, component: str) -> None:
    selector = names.selector(names.component_labels(RELEASE, component))
    first, second = pods(selector)
    evict(first)
    with pytest.raises(process.CommandError, match="disruption budget"):
        evict(second)
    until(
        "there are two again",
        lambda: len(pods(selector)) == 2 and first not in pods(selector),
        seconds=60,
    )
    for deployment in (API, PROXY):
        kubectl("rollout", "status", deployment, "--timeout", "120s")


def evict(pod: str) -> None:
    """Do what ``kubectl drain`` does with a pod."""
    namespace = SETTINGS.kubernetes.namespace
    metadata = {"name": pod, "namespace": namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    address = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    cluster.kubectl("create", "--raw", address, "--filename", "-", standard_input=json.dumps(eviction))
