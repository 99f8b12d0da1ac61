"""What befalls the parts of both gateways: each is really killed, and is back when the context ends."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from gateway.kubernetes import names
from gateway.site import Backend
from release import process
from testbed import cluster, directory, docker, hub, slurm, submission
from testbed.waiting import until
from tests.e2e import notebooks
from tests.e2e.administration import SETTINGS, SLURMCTLD, fetch, kubectl
from tests.e2e.notebooks import CellError, Notebook

Fault = Callable[[], AbstractContextManager[None]]
BACK_SECONDS = 90
WATCHED_SECONDS = 300
"""Several attempts of a client, each of which takes up to a minute when it does not reach its cluster."""
SAVED_SECONDS = 6
"""How late slurmctld writes its state: SAVE_MAX_WAIT of its state_save.c is 5 s."""


def living_pods(selector: str) -> list[dict[str, Any]]:
    """The pods that a selector finds and that are not on their way out."""
    listed = json.loads(kubectl("get", "pods", "--selector", selector, "--output", "json"))
    return [item for item in listed["items"] if "deletionTimestamp" not in item["metadata"]]


def pods(selector: str) -> list[dict[str, str]]:
    """Their metadata."""
    return [pod["metadata"] for pod in living_pods(selector)]


def kill_pod(pod: dict[str, str]) -> None:
    """Kill all processes of a pod but the one that holds its namespaces; to start it again is Kubernetes' business."""
    # Processes come and go meanwhile; that it was killed shows elsewhere.
    script = (
        f"for process in $(grep -ls {pod['uid']} /proc/[0-9]*/cgroup | cut -d/ -f3); do"
        ' grep -qxE "pause|catatonit" /proc/$process/comm || kill -9 "$process"; done 2>/dev/null; true'
    )
    docker.execute(cluster.NODE, ["sh", "-c", script])


def restarts_of(pod: dict[str, Any]) -> int:
    """How often its containers were started again."""
    return sum(status["restartCount"] for status in pod["status"].get("containerStatuses", ()))


def restarts(selector: str) -> dict[str, int]:
    """Pod -> how often its containers were started again."""
    return {pod["metadata"]["name"]: restarts_of(pod) for pod in living_pods(selector)}


@contextmanager
def killed_deployment(name: str) -> Iterator[None]:
    """A deployment all of whose pods are killed at once."""
    deployment = json.loads(kubectl("get", f"deployment/{name}", "--output", "json"))
    selector = names.selector(deployment["spec"]["selector"]["matchLabels"])
    before = restarts(selector)
    for pod in pods(selector):
        kill_pod(pod)
    until(
        f"{name} was really killed",
        lambda: all(count > before[pod] for pod, count in restarts(selector).items() if pod in before),
        seconds=BACK_SECONDS,
    )
    yield
    kubectl("rollout", "status", f"deployment/{name}", "--timeout", f"{BACK_SECONDS}s")


@contextmanager
def killed_machine(container: str) -> Iterator[None]:
    """A machine that is off for a moment."""
    process.run(["docker", "kill", container])
    process.run(["docker", "start", container])
    yield


@contextmanager
def killed_controller_of_slurm() -> Iterator[None]:
    """SLURM's controller, killed when it has written what it knows: before, it forgets jobs itself."""
    time.sleep(SAVED_SECONDS)
    with killed_machine(SLURMCTLD):
        yield


@contextmanager
def killed_unit(unit: str) -> Iterator[None]:
    """A service of the submission host that dies."""
    docker.execute(submission.CONTAINER, ["systemctl", "kill", "--signal=KILL", unit])
    yield
    until(f"{unit} is back", lambda: _is_active(unit), seconds=BACK_SECONDS)


def _is_active(unit: str) -> bool:
    return process.succeeds(["docker", "exec", submission.CONTAINER, "systemctl", "is-active", "--quiet", unit])


def _serves_new_clusters() -> bool:
    """Whether a new cluster is reached; what a client leaves that could not reach its own is bob's to remove."""
    try:
        with Notebook("bob") as kernel:
            kernel.snippet(f"connect-{Backend.KUBERNETES.value}")
            kernel.run(notebooks.new_cluster(notebooks.SMALL))
            kernel.run(notebooks.connect())
    except (CellError, AssertionError):
        return False
    return True


@contextmanager
def restarted_control_plane() -> Iterator[None]:
    """Kubernetes whose etcd and API server are killed."""
    docker.execute(cluster.NODE, ["pkill", "-9", "etcd"])
    docker.execute(cluster.NODE, ["pkill", "-9", "kube-apiserver"])
    yield
    # Who watches Kubernetes comes back after up to half a minute (client-go's backoff): CoreDNS and Traefik know no new
    # cluster until then.
    until("new clusters are reached", _serves_new_clusters, seconds=WATCHED_SECONDS, pause_seconds=3)


@contextmanager
def killed_machine_of_jobs(node: str) -> Iterator[None]:
    """A compute node that crashes with all its jobs."""
    container = f"af-{node}"
    process.run(["docker", "kill", container])
    yield
    process.run(["docker", "start", container])
    # Its jobs are over: SLURM itself would tell the node for minutes to end those that were cancelled meanwhile.
    docker.execute(SLURMCTLD, _update(node, "state=down", "reason=crashed"))
    until(f"{node} takes jobs", lambda: _state(node) in ("idle", "mix", "alloc"), seconds=BACK_SECONDS)


def _update(nodes: str, *changes: str) -> list[str]:
    return ["scontrol", "update", f"nodename={nodes}", *changes]


def _state(node: str) -> str:
    # A node that SLURM has seen restart stays down until somebody has looked at it.
    process.succeeds(["docker", "exec", SLURMCTLD, *_update(node, "state=resume")])
    return docker.execute(SLURMCTLD, ["sinfo", "--noheader", f"--nodes={node}", "--format=%t"]).split()[0]


@contextmanager
def drained(nodes: str) -> Iterator[None]:
    """Compute nodes that take no new jobs."""
    docker.execute(SLURMCTLD, _update(nodes, "state=drain", "reason=test"))
    try:
        yield
    finally:
        docker.execute(SLURMCTLD, _update(nodes, "state=resume"))


def kill_processes(words: str) -> None:
    """Kill the processes on compute nodes that have these words in their command."""
    for node in slurm.NODES:
        process.succeeds(["docker", "exec", f"af-{node.name}", "pkill", "-9", "-f", words])


RELEASE = SETTINGS.kubernetes.release
QUIET: dict[Backend, dict[str, Fault]] = {
    Backend.KUBERNETES: {
        "API server": lambda: killed_deployment(names.api_name(RELEASE)),
        "controller": lambda: killed_deployment(names.controller_name(RELEASE)),
        "etcd and apiserver": restarted_control_plane,
        "directory": lambda: killed_machine(directory.CONTAINER),
        "JupyterHub": lambda: killed_machine(hub.NAME),
    },
    Backend.SLURM: {
        "server": lambda: killed_unit("dask-gateway"),
        "slurmctld": killed_controller_of_slurm,
        "directory": lambda: killed_machine(directory.CONTAINER),
        "JupyterHub": lambda: killed_machine(hub.NAME),
    },
}
"""What no computation notices."""
LOUD: dict[Backend, dict[str, Fault]] = {
    Backend.KUBERNETES: {"Traefik": lambda: killed_deployment(names.proxy_name(RELEASE))},
    Backend.SLURM: {
        "proxy": lambda: killed_unit("dask-gateway-proxy"),
        "submission host": lambda: killed_machine(submission.CONTAINER),
    },
}
"""What cuts clients off for a moment."""


def answers(backend: Backend) -> bool:
    """Whether a gateway answers under its public name, three times in a row."""
    health = f"{SETTINGS.gateway(backend).address}/api/health"
    try:
        return all(fetch(health)[0] == 200 for _ in range(3))
    except process.CommandError:
        return False
