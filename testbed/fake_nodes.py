"""Fake nodes for load tests: kwok reports to Kubernetes that they are ready and that their pods run.

A taint decides which pods go to fake nodes; users, the site and the machine's size have no influence. Fake nodes carry
the taint, so that schedulers and the gateway's own pods, which have to run, never go there by accident. While
:func:`taking_all_new_pods` lasts, the real nodes carry it instead. Without it Kubernetes' scheduler would place users'
workers on either kind, because the real node declares more processors than exist.

Tolerations are no alternative: the site would have to give them to users' workers, and the tested gateway would run
under another site than its own. A taint can't keep off pods of DaemonSets that tolerate all taints; kubeadm's
DaemonSets select nodes by a label that fake nodes lack, see :func:`described`.
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
"""Annotation of the nodes that kwok manages."""
CLOSED = "af-dask-gateway/closed"
"""Key of the taint."""
LEASE_SECONDS = 40
"""How long Kubernetes believes a node alive without a heartbeat (the kubelet's default)."""
SECONDS_TO_START = 60
SECONDS_TO_END = 10


class FakeNodesError(Exception):
    """Fake nodes can't be had; the text says why."""


@dataclass(frozen=True)
class Capacity:
    """Resources that pods on a node may request."""

    cores: float
    memory_gib: float
    pods: int = 110
    """The kubelet's default."""


def described(name: str, capacity: Capacity, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a node with the taint.

    It lacks the label ``kubernetes.io/os`` that kubelets set. CoreDNS, and kube-proxy, which tolerates all taints,
    select nodes by that label.
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
    """Have fake nodes ``NAME-NUMBER`` while the context lasts; remove them and all their pods afterwards.

    First remove the leftovers of an interrupted run. Raises :class:`FakeNodesError` when kwok does not work.
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
    """Send all new pods to fake nodes while the context lasts; running pods stay where they are."""
    try:
        _close(_names(is_fake=False))
        _open(_names(is_fake=True))
        yield
    finally:
        _close(_names(is_fake=True))
        _open(_names(is_fake=False))


def names() -> set[str]:
    """Return the names of all fake nodes."""
    return set(_names(is_fake=True))


def end_pods(namespace: str, selector: str) -> None:
    """Have fake nodes report that the processes of these pods have succeeded."""
    listed = json.loads(cluster.kubectl("--namespace", namespace, "get", "pods", "--selector", selector, "-o", "json"))
    cluster.kubectl(
        *("replace", "--subresource=status", "--filename=-"),
        standard_input=json.dumps({**listed, "items": [ended(pod) for pod in listed["items"]]}),
    )


def ended(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pod as its node reports it when its processes have succeeded."""
    # Without a resource version Kubernetes stores it although the pod may have changed meanwhile.
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
    """Remove fake nodes, their pods and the process of kwok, and untaint the real nodes; do nothing without any."""
    end_process()
    fake = _names(is_fake=True)
    _close(fake)
    for node in fake:
        # Only kwok, which has ended, would report that the pods' processes have ended.
        cluster.kubectl(
            *("delete", "pods", "--all-namespaces", "--field-selector", f"spec.nodeName={node}"),
            *("--force", "--grace-period=0"),
        )
    if fake:
        cluster.kubectl("delete", "nodes", *fake)
    _open(_names(is_fake=False))


def end_process() -> None:
    """End the kwok of the pid file, if that process runs and is a kwok."""
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
            # kwok would read the user's own configuration too.
            env={**os.environ, "KWOK_WORKDIR": str(STATE / "kwok")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # An interrupt at the terminal must end only this program: removing other people's pods still needs kwok.
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
        raise FakeNodesError(f"kwok ended with code {running.returncode}; the last lines of its log {LOG}:\n{tail}")
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
