"""Faults of the parts of both gateways, as contexts: a part is really killed, and works again when the context ends.

``test_faults`` injects each of :data:`UNNOTICED` and :data:`DISCONNECTING`. ``test_limits``, ``test_directory_outage``
and the load and restart tests use single faults and the functions about pods.
"""

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
from tests.e2e.machines import RELEASE, SLURMCTLD, kubectl, slurm_container
from tests.e2e.notebooks import CellError

Fault = Callable[[], AbstractContextManager[None]]
BACK_SECONDS = 90
"""Bound on the recovery of a part."""
WATCHES_BACK_SECONDS = 300
"""Several attempts of a client, each of which takes up to a minute when it does not reach its cluster."""
SAVED_SECONDS = 6
"""Longer than slurmctld delays the write of its state: SAVE_MAX_WAIT of its state_save.c is 5 s."""


def living_pods(selector: str) -> list[dict[str, Any]]:
    """Return the pods of a selector that are not being deleted: of the gateway, or of users' clusters."""
    everywhere = ("--all-namespaces", "--selector", selector)
    listed = json.loads(cluster.kubectl("get", "pods", *everywhere, "--output", "json"))
    return [item for item in listed["items"] if "deletionTimestamp" not in item["metadata"]]


def pods(selector: str) -> list[dict[str, str]]:
    """Return the metadata of the pods of a selector that are not being deleted."""
    return [pod["metadata"] for pod in living_pods(selector)]


def kill_pod(pod: dict[str, str]) -> None:
    """Kill all processes of a pod except the one that holds its namespaces; the kubelet restarts the containers."""
    # The exit code tells nothing, as processes can end before kill reaches them. Callers check restarts or results.
    script = (
        f"for process in $(grep -ls {pod['uid']} /proc/[0-9]*/cgroup | cut -d/ -f3); do"
        ' grep -qxE "pause|catatonit" /proc/$process/comm || kill -9 "$process"; done 2>/dev/null; true'
    )
    docker.execute(cluster.NODE, ["sh", "-c", script])


def restarts_of(pod: dict[str, Any]) -> int:
    """Return how often the kubelet has restarted a pod's containers."""
    return sum(status["restartCount"] for status in pod["status"].get("containerStatuses", ()))


def restarts(selector: str) -> dict[str, int]:
    """Return pod -> restarts of its containers, for the pods of a selector."""
    return {pod["metadata"]["name"]: restarts_of(pod) for pod in living_pods(selector)}


@contextmanager
def killed_deployment(name: str) -> Iterator[None]:
    """Kill all pods of a deployment at once."""
    deployment = json.loads(kubectl("get", f"deployment/{name}", "--output", "json"))
    selector = names.selector(deployment["spec"]["selector"]["matchLabels"])
    before = restarts(selector)
    for pod in pods(selector):
        kill_pod(pod)
    until(
        f"each pod of {name} has restarted",
        lambda: all(count > before[pod] for pod, count in restarts(selector).items() if pod in before),
        seconds=BACK_SECONDS,
    )
    yield
    kubectl("rollout", "status", f"deployment/{name}", "--timeout", f"{BACK_SECONDS}s")


@contextmanager
def killed_machine(container: str) -> Iterator[None]:
    """Switch a machine off and on again."""
    process.run(["docker", "kill", container])
    process.run(["docker", "start", container])
    yield


@contextmanager
def paused_machine(container: str) -> Iterator[None]:
    """Freeze a machine: it takes connections and does not answer."""
    process.run(["docker", "pause", container])
    try:
        yield
    finally:
        process.run(["docker", "unpause", container])


@contextmanager
def killed_slurmctld() -> Iterator[None]:
    """Kill slurmctld after it has written its state; killed before, SLURM itself would forget jobs."""
    time.sleep(SAVED_SECONDS)
    with killed_machine(SLURMCTLD):
        yield


@contextmanager
def killed_unit(unit: str) -> Iterator[None]:
    """Kill a service of the submission host; systemd restarts it."""
    docker.execute(submission.CONTAINER, ["systemctl", "kill", "--signal=KILL", unit])
    yield
    until(f"{unit} is back", lambda: _is_active(unit), seconds=BACK_SECONDS)


def _is_active(unit: str) -> bool:
    return _succeeds(submission.CONTAINER, "systemctl", "is-active", "--quiet", unit)


def _succeeds(container: str, *command: str) -> bool:
    return process.succeeds(["docker", "exec", container, *command])


def _serves_new_clusters() -> bool:
    """Return whether a client reaches a new cluster. The fixture ``bob`` stops those that a client did not reach."""
    try:
        with notebooks.connected("bob", Backend.KUBERNETES) as kernel:
            notebooks.start_cluster(kernel)
    except (CellError, AssertionError):
        return False
    return True


@contextmanager
def restarted_control_plane() -> Iterator[None]:
    """Kill etcd and the API server of Kubernetes."""
    docker.execute(cluster.NODE, ["pkill", "-9", "etcd"])
    docker.execute(cluster.NODE, ["pkill", "-9", "kube-apiserver"])
    yield
    # CoreDNS and Traefik watch Kubernetes again after up to half a minute (client-go's backoff). Until then they know
    # no new cluster.
    until("a client reaches a new cluster", _serves_new_clusters, seconds=WATCHES_BACK_SECONDS, pause_seconds=3)


@contextmanager
def killed_machine_of_jobs(node: str) -> Iterator[None]:
    """Crash a compute node with all its jobs."""
    container = slurm_container(node)
    process.run(["docker", "kill", container])
    yield
    process.run(["docker", "start", container])
    # Otherwise SLURM would tell the node for minutes to end jobs that were cancelled meanwhile, though they have ended.
    docker.execute(SLURMCTLD, _update(node, "state=down", "reason=crashed"))
    until(f"{node} takes jobs", lambda: _state(node) in ("idle", "mix", "alloc"), seconds=BACK_SECONDS)


def _update(nodes: str, *changes: str) -> list[str]:
    return ["scontrol", "update", f"nodename={nodes}", *changes]


def _state(node: str) -> str:
    # SLURM keeps a node that has restarted down until an administrator resumes it.
    _succeeds(SLURMCTLD, *_update(node, "state=resume"))
    return docker.execute(SLURMCTLD, ["sinfo", "--noheader", f"--nodes={node}", "--format=%t"]).split()[0]


@contextmanager
def drained(nodes: str) -> Iterator[None]:
    """Drain compute nodes: they take no new jobs."""
    docker.execute(SLURMCTLD, _update(nodes, "state=drain", "reason=test"))
    try:
        yield
    finally:
        docker.execute(SLURMCTLD, _update(nodes, "state=resume"))


@contextmanager
def cordoned() -> Iterator[None]:
    """Cordon the Kubernetes node: it takes no new pods."""
    cluster.kubectl("cordon", cluster.NODE)
    try:
        yield
    finally:
        cluster.kubectl("uncordon", cluster.NODE)


def kill_processes(words: str) -> None:
    """Kill the processes on all compute nodes whose command line matches these words."""
    for node in slurm.NODES:
        # pkill fails on the nodes where none matches.
        _succeeds(slurm_container(node.name), "pkill", "-9", "-f", words)


UNNOTICED: dict[Backend, dict[str, Fault]] = {
    Backend.KUBERNETES: {
        "API server": lambda: killed_deployment(names.api_name(RELEASE)),
        "controller": lambda: killed_deployment(names.controller_name(RELEASE)),
        "etcd and apiserver": restarted_control_plane,
        "directory": lambda: killed_machine(directory.CONTAINER),
        "JupyterHub": lambda: killed_machine(hub.NAME),
    },
    Backend.SLURM: {
        "server": lambda: killed_unit("dask-gateway"),
        "slurmctld": killed_slurmctld,
        "directory": lambda: killed_machine(directory.CONTAINER),
        "JupyterHub": lambda: killed_machine(hub.NAME),
    },
}
"""Name -> fault, by back end: a running computation does not notice these."""
DISCONNECTING: dict[Backend, dict[str, Fault]] = {
    Backend.KUBERNETES: {"Traefik": lambda: killed_deployment(names.proxy_name(RELEASE))},
    Backend.SLURM: {
        "proxy": lambda: killed_unit("dask-gateway-proxy"),
        "submission host": lambda: killed_machine(submission.CONTAINER),
    },
}
"""Name -> fault, by back end: clients lose their connection for a moment."""
