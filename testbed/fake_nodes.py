"""Fake nodes for load tests: kwok tells Kubernetes that they are ready, and that the pods on them run.

Whether a pod goes there is decided by a taint, and by nothing that a user, the site or the size of a machine has a say
in. Fake nodes have it, so that schedulers and the gateway's own pods, which have to run, never go there by accident.
While :func:`taking_all_new_pods` lasts, the real nodes have it instead: left to Kubernetes' scheduler, users' workers
would go to either, as the real node declares more processors than there are.

Tolerations would need the site to give them to users' workers, and a gateway that is tested under another site than it
has. What can't be kept off by a taint are pods of DaemonSets that tolerate all; kubeadm's wait for nodes with a label
that fake ones do not have, see :func:`described`.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from testbed import cluster, pid_files, waiting
from testbed.paths import KUBECONFIG, LOGS, STATE
from testbed.toolchain.programs import KWOK_BUILD, KWOK_STAGES

PROGRAM = "kwok"
PID_FILE = STATE / "kwok.pid"
LOG = LOGS / "kwok.log"
LABEL = "af-dask-gateway/fake-node"
MANAGED = ("kwok.x-k8s.io/node", "fake")
"""The annotation of the only nodes that kwok manages."""
CLOSED = "af-dask-gateway/closed"
"""Key of the taint."""
LEASE_SECONDS = 40
"""How long a node is believed to live without news of it (the kubelet's default)."""
SECONDS_TO_START = 60
SECONDS_TO_END = 10


class FakeNodesError(Exception):
    """There are no fake nodes, and why."""


@dataclass(frozen=True)
class Capacity:
    """What pods may request of a node."""

    cores: float
    memory_gib: float
    pods: int = 110
    """The kubelet's default."""


def described(name: str, capacity: Capacity, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A node, closed.

    It lacks the label ``kubernetes.io/os`` that kubelets set: CoreDNS and kube-proxy, which tolerates all taints, wait
    for it.
    """
    amounts = {"cpu": f"{capacity.cores:g}", "memory": f"{capacity.memory_gib:g}Gi", "pods": str(capacity.pods)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {**(labels or {}), "kubernetes.io/hostname": name, LABEL: "true"},
            "annotations": dict([MANAGED]),
        },
        "spec": {"taints": [{"key": CLOSED, "effect": "NoSchedule"}]},
        "status": {"capacity": amounts, "allocatable": amounts},
    }


@contextlib.contextmanager
def added(name: str, count: int, capacity: Capacity, labels: Mapping[str, str] | None = None) -> Iterator[None]:
    """There are that many fake nodes ``NAME-NUMBER`` while the context lasts; they go with all pods on them.

    What an interrupted run has left behind goes before. Raises :class:`FakeNodesError` when kwok does not do its part.
    """
    remove_leftovers()
    nodes = [described(f"{name}-{number}", capacity, labels) for number in range(count)]
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes})
    try:
        with _kwok() as running:
            cluster.kubectl("create", "--filename=-", standard_input=objects)
            waiting.until(f"{count} fake nodes are ready", lambda: _all_ready(running, count), seconds=SECONDS_TO_START)
            yield
    finally:
        remove_leftovers()


@contextlib.contextmanager
def taking_all_new_pods() -> Iterator[None]:
    """New pods go to fake nodes, and to no other, while the context lasts; those that run stay where they are."""
    try:
        _close(_names(is_fake=False))
        _open(_names(is_fake=True))
        yield
    finally:
        _close(_names(is_fake=True))
        _open(_names(is_fake=False))


def names() -> set[str]:
    """The names of all fake nodes."""
    return set(_names(is_fake=True))


def end_pods(namespace: str, selector: str) -> None:
    """Have fake nodes report that the processes of these pods have ended well."""
    listed = json.loads(cluster.kubectl("--namespace", namespace, "get", "pods", "--selector", selector, "-o", "json"))
    cluster.kubectl(
        *("replace", "--subresource=status", "--filename=-"),
        standard_input=json.dumps({**listed, "items": [ended(pod) for pod in listed["items"]]}),
    )


def ended(pod: Mapping[str, Any]) -> dict[str, Any]:
    """A pod as its node reports it when its processes have ended well."""
    # Without a version it is stored whatever has happened to the pod meanwhile.
    metadata = {key: value for key, value in pod["metadata"].items() if key != "resourceVersion"}
    containers = [
        {**container, "ready": False, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
        for container in pod["status"].get("containerStatuses", ())
    ]
    conditions = [
        {**condition, "status": "False"} if condition["type"] in ("Ready", "ContainersReady") else condition
        for condition in pod["status"].get("conditions", ())
    ]
    status = {**pod["status"], "phase": "Succeeded", "containerStatuses": containers, "conditions": conditions}
    return {**pod, "metadata": metadata, "status": status}


def remove_leftovers() -> None:
    """Remove fake nodes, the pods on them and their process, and open the real nodes; does nothing without any."""
    end_process()
    fake = _names(is_fake=True)
    _close(fake)
    for node in fake:
        # Nobody but the program that is gone would say that they have ended.
        cluster.kubectl(
            *("delete", "pods", "--all-namespaces", "--field-selector", f"spec.nodeName={node}"),
            *("--force", "--grace-period=0"),
        )
    if fake:
        cluster.kubectl("delete", "nodes", *fake)
    _open(_names(is_fake=False))


def end_process() -> None:
    """End the kwok that the pid file tells of, if it is one and runs."""
    text = PID_FILE.read_text() if PID_FILE.is_file() else ""
    if pid_files.is_valid(text, PROGRAM):
        os.kill(int(text), signal.SIGTERM)
        try:
            waiting.until("kwok ends", lambda: not pid_files.is_valid(text, PROGRAM), seconds=SECONDS_TO_END)
        except TimeoutError:
            os.kill(int(text), signal.SIGKILL)
    PID_FILE.unlink(missing_ok=True)


@contextlib.contextmanager
def _kwok() -> Iterator[subprocess.Popen[bytes]]:
    programs = KWOK_BUILD.programs.make()
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("w") as log:
        running = subprocess.Popen(
            [
                *(programs / PROGRAM, "--kubeconfig", KUBECONFIG),
                *("--manage-nodes-with-annotation-selector", "=".join(MANAGED)),
                *("--node-lease-duration-seconds", str(LEASE_SECONDS)),
                *(argument for name in KWOK_STAGES for argument in ("--config", programs / name)),
            ],
            # It would read the user's own configuration too.
            env={**os.environ, "KWOK_WORKDIR": str(STATE / "kwok")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # An interrupt at the terminal is for us: what we remove then needs no kwok, but others' pods do.
            start_new_session=True,
        )
    PID_FILE.write_text(f"{running.pid}\n")
    try:
        yield running
    finally:
        end_process()
        running.wait()


def _all_ready(running: subprocess.Popen[bytes], count: int) -> bool:
    if running.poll() is not None:
        tail = "\n".join(LOG.read_text().splitlines()[-15:])
        raise FakeNodesError(f"kwok has ended with code {running.returncode}; the end of its log {LOG}:\n{tail}")
    path = '{.items[*].status.conditions[?(@.type=="Ready")].status}'
    return _nodes(f"jsonpath={path}", LABEL).split().count("True") == count


def _nodes(output: str, *selectors: str) -> str:
    return cluster.kubectl("get", "nodes", "--selector", ",".join(selectors), "--output", output)


def _names(*, is_fake: bool) -> list[str]:
    return _nodes("jsonpath={.items[*].metadata.name}", LABEL if is_fake else f"!{LABEL}").split()


def _close(nodes: list[str]) -> None:
    if nodes:
        cluster.kubectl("taint", "nodes", *nodes, f"{CLOSED}:NoSchedule", "--overwrite")


def _open(nodes: list[str]) -> None:
    # kubectl fails for a taint that a node does not have.
    columns = "custom-columns=:metadata.name,:spec.taints[*].key"
    rows = (line.split() for line in cluster.kubectl("get", "nodes", "--no-headers", "--output", columns).splitlines())
    closed = [name for name, keys in rows if name in nodes and CLOSED in keys.split(",")]
    if closed:
        cluster.kubectl("taint", "nodes", *closed, f"{CLOSED}:NoSchedule-")
