"""Updates of the Kubernetes gateway: each part restarts, and users' computations and requests continue."""

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
from tests.e2e.administration import Administrator
from tests.e2e.back_ends import on_kubernetes
from tests.e2e.machines import (
    API,
    CONTROLLER,
    PROXY,
    RELEASE,
    SETTINGS,
    await_rollout,
    kubectl,
    kubectl_clusters,
    object_name,
    of_cluster,
    restart_deployments,
)
from tests.e2e.notebooks import Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

NUMBERS = 400
"""How many numbers the computation squares; each takes a worker a fifth of a second."""
DEFAULT_GRACE_SECONDS = 20
"""Longer than Traefik, after it has stopped accepting requests, keeps connections by default (10 s)."""
SECOND_CONTROLLER_SECONDS = 5
"""Longer than a controller without a lease would take to begin its work."""
SURPLUS_SECONDS = 3
"""Longer than a second working controller would take to create surplus workers."""
LARGE = {"pixi_project": notebooks.PIXI_PROJECT, "worker_cores": 64, "worker_memory": 1}
"""Options of a cluster whose workers fit on no node of the testbed: their pods are created and never run."""


def restart_all() -> None:
    """Restart each part, and wait until a proxy that kept its connections no longer than by default has cut them."""
    for deployment in (API, CONTROLLER, PROXY):
        restart_deployments(deployment)
    time.sleep(DEFAULT_GRACE_SECONDS)


def pods(selector: str) -> dict[str, tuple[str, int]]:
    """Return name -> uid and restarts of the pods of a selector."""
    found = faults.living_pods(selector)
    return {pod["metadata"]["name"]: (pod["metadata"]["uid"], faults.restarts_of(pod)) for pod in found}


def workers_of(name: str) -> int:
    """Return how many workers a cluster has."""
    return len(pods(of_cluster(name, names.WORKER_COMPONENT)))


def workers_made_for(name: str) -> int:
    """Return how many workers a cluster ever had: the scheduler of Kubernetes records an event for each pod."""
    of_pods = ("--field-selector", "involvedObject.kind=Pod")
    events = json.loads(kubectl_clusters("get", "events", *of_pods, "--output", "json"))
    found = {event["involvedObject"]["name"] for event in events["items"]}
    return len({pod for pod in found if pod.startswith(f"dask-worker-{object_name(name)}")})


@on_kubernetes
def test_a_computation_continues_over_restarts(
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

    with notebooks.repeating(kernel, "gateway.get_cluster(cluster.name), gateway.list_clusters()") as repetitions:
        restart_all()
        assert repetitions() > 50
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
    administrator.await_end(name, seconds=60)


@on_kubernetes
def test_clusters_start_and_end_during_restarts(
    open_notebook: Callable[[str], Notebook], administrator: Administrator, backend: Backend
) -> None:
    kernel = open_notebook("dave-cern")
    kernel.run(
        "import os\n"
        "def use_a_cluster():\n"
        f"    made = gateway.new_cluster(env=dict(os.environ), **{notebooks.SMALL!r})\n"
        "    kept.append(made)\n"
        "    made.scale(1)\n"
        "    client = made.get_client(set_as_default=False)\n"
        "    assert client.submit(sum, [1, 2]).result(60) == 3\n"
        "    made.shutdown()\n"
        "kept = []"
    )
    with notebooks.repeating(kernel, "use_a_cluster()") as repetitions:
        restart_all()
        assert repetitions() > 1
    until("none is listed", lambda: kernel.run("gateway.list_clusters()") == [], seconds=30)
    for name in kernel.run("[made.name for made in kept]"):
        administrator.await_end(name, seconds=60)


@pytest.fixture
def two_controllers() -> Iterator[None]:
    """Run two controllers, as Kubernetes does for a while when a controller's pod is deleted or its node is lost."""
    kubectl("scale", CONTROLLER, "--replicas", "2")
    until("both run", lambda: len(controllers()) == 2, seconds=60)
    time.sleep(SECOND_CONTROLLER_SECONDS)
    try:
        yield
    finally:
        kubectl("scale", CONTROLLER, "--replicas", "1")
        await_rollout(CONTROLLER)


def controllers() -> set[str]:
    """Return the running pods of the controller."""
    selector = names.selector(names.component_labels(RELEASE, "controller"))
    found = json.loads(kubectl("get", "pods", "--selector", selector, "--output", "json"))["items"]
    return {pod["metadata"]["name"] for pod in found if pod["status"]["phase"] == "Running"}


def holder() -> str:
    """Return the pod that holds the controller's lease."""
    lease = json.loads(kubectl("get", "lease", names.controller_name(RELEASE), "--output", "json"))
    return str(lease["spec"].get("holderIdentity", ""))


@on_kubernetes
def test_only_one_of_two_controllers_acts(open_notebook: Callable[[str], Notebook], two_controllers: None) -> None:
    kernel = open_notebook("dave-cern")
    kernel.run("import os")
    name = kernel.run(notebooks.new_cluster(f"env=dict(os.environ), **{LARGE!r}"))
    kernel.run("cluster.scale(3)")
    until("all workers are created", lambda: workers_made_for(name) >= 3, seconds=30)
    time.sleep(SURPLUS_SECONDS)
    # A second controller that acted would create three more, and both would delete the surplus.
    assert (workers_of(name), workers_made_for(name)) == (3, 3)

    first = holder()
    assert first in controllers()
    kubectl("delete", "pod", first, "--wait=false")
    kernel.run("cluster.scale(5)")
    until("the other controller has taken over", lambda: workers_made_for(name) >= 5, seconds=60)
    time.sleep(SURPLUS_SECONDS)
    assert (workers_of(name), workers_made_for(name)) == (5, 5)
    assert holder() not in {"", first}


@on_kubernetes
@pytest.mark.parametrize("component", ["api", "traefik"])
def test_a_drain_evicts_one_replica_at_a_time(backend: Backend, component: str) -> None:
    selector = names.selector(names.component_labels(RELEASE, component))
    first, second = pods(selector)
    evict(first)
    with pytest.raises(process.CommandError, match="disruption budget"):
        evict(second)
    until(
        "two replicas run again",
        lambda: len(pods(selector)) == 2 and first not in pods(selector),
        seconds=60,
    )
    await_rollout(API, PROXY)


def evict(pod: str) -> None:
    """Evict a pod as ``kubectl drain`` does."""
    namespace = SETTINGS.kubernetes.namespace
    metadata = {"name": pod, "namespace": namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    address = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    cluster.kubectl("create", "--raw", address, "--filename", "-", standard_input=json.dumps(eviction))
