"""The DaskCluster resource: its API group, its phases, and the keys in its spec that this gateway adds. Pure."""

from collections.abc import Mapping
from typing import Any

from gateway.kubernetes import names

GROUP = "gateway.dask.org"
PLURAL = "daskclusters"

PENDING = "Pending"
RUNNING = "Running"
STOPPED = "Stopped"
FAILED = "Failed"
"""Values of ``status.phase``, as upstream's API server reads them."""
ENDED_PHASES = (STOPPED, FAILED)
"""Phases of clusters that have ended."""

LAST_CLIENT = "lastClient"
"""Key in the spec: when the scheduler last reported that a client is connected."""
STARTED = "started"
"""Key in the spec: when the scheduler reported that it listens."""


def key_of(item: Mapping[str, Any]) -> str:
    """Return the key of a DaskCluster or a pod: ``NAMESPACE.NAME``, as upstream's informers and queue use it."""
    return f"{item['metadata']['namespace']}.{item['metadata']['name']}"


def user_of(cluster: Mapping[str, Any]) -> str:
    """Return the user of a cluster, as the label :data:`names.USER_LABEL` of its pods has it."""
    return names.label_value(str((cluster.get("spec") or {}).get("username", "")))


def phase_of(cluster: Mapping[str, Any]) -> str:
    """Return the phase of a cluster; it is pending until the controller stores a status."""
    phase: str = cluster.get("status", {}).get("phase", PENDING)
    return phase


def is_active(cluster: Mapping[str, Any]) -> bool:
    """Return whether a cluster may run: upstream's API server sets ``active`` to false to stop it."""
    active: bool = cluster["spec"].get("active", True)
    return active
