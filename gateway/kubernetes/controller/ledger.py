"""What the pods of each user hold, including pods that the controller is creating. No I/O."""

import itertools
from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from typing import Any

from dask_gateway_server.backends.kubernetes.controller import get_cluster_key, get_container_state

from gateway.kubernetes import names
from gateway.kubernetes.cluster_spec import scheduler_resources, worker_resources
from gateway.kubernetes.dask_clusters import key_of, user_of
from gateway.request.quota import Resources, sum_of
from gateway.site import KubernetesGateway

SUFFIXES = {
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
} | {f"{letter}i": Decimal(2 ** (10 * power)) for power, letter in enumerate("KMGT", start=1)}
"""Suffixes of Kubernetes' quantities, as its API server writes them."""
ENDED_POD_PHASES = ("Succeeded", "Failed")
"""Phases of pods that have ended."""


class State(Enum):
    """The state of a pod, as far as the user's total and the number of workers depend on it."""

    CREATING = "creating"
    """The controller has requested it, and has not seen it yet."""
    WAITING = "waiting"
    """Not running yet: unscheduled, or its container does not run."""
    RUNNING = "running"
    LEAVING = "leaving"
    """Being deleted; it still holds its resources."""
    ENDED = "ended"
    """It has ended and holds nothing; the controller has to delete it."""
    REMOVED = "removed"
    """It has ended and is being deleted."""


ENDED_STATES = (State.ENDED, State.REMOVED)
HOLDING_STATES = tuple(state for state in State if state not in ENDED_STATES)
PRESENT_STATES = (State.CREATING, State.WAITING, State.RUNNING)
"""States of the workers that a cluster has or is about to have."""


@dataclass(frozen=True)
class Entry:
    """A pod in the ledger."""

    user: str
    """Value of :data:`names.USER_LABEL`."""
    cluster: str
    """``NAMESPACE.NAME``"""
    is_worker: bool
    amount: Resources
    state: State


def entry_of(pod: Mapping[str, Any]) -> Entry | None:
    """Return the entry of a pod; None for a pod that belongs to no cluster."""
    cluster = get_cluster_key(pod)
    labels = pod["metadata"].get("labels", {})
    user = labels.get(names.USER_LABEL)
    if cluster is None or user is None:
        return None
    component = labels[names.COMPONENT_LABEL]
    is_worker = component == names.WORKER_COMPONENT
    requests = [container.get("resources", {}).get("requests", {}) for container in pod["spec"]["containers"]]
    return Entry(
        user=user,
        cluster=cluster,
        is_worker=is_worker,
        amount=sum_of(
            Resources(int(quantity(request.get("cpu", "0")) * 1000), int(quantity(request.get("memory", "0"))))
            for request in requests
        )
        + Resources(workers=int(is_worker)),
        state=_state_of(pod, component),
    )


def entry_to_create(cluster: Mapping[str, Any], component: str, gateway: KubernetesGateway) -> Entry:
    """Return the entry of a scheduler or worker (a value of ``COMPONENT_LABEL``) that a cluster does not have yet."""
    is_worker = component == names.WORKER_COMPONENT
    return Entry(
        user=user_of(cluster),
        cluster=key_of(cluster),
        is_worker=is_worker,
        amount=worker_resources(cluster) if is_worker else scheduler_resources(gateway),
        state=State.CREATING,
    )


def _state_of(pod: Mapping[str, Any], component: str) -> State:
    is_deleted = bool(pod["metadata"].get("deletionTimestamp"))
    if pod["status"].get("phase") in ENDED_POD_PHASES:
        return State.REMOVED if is_deleted else State.ENDED
    if is_deleted:
        return State.LEAVING
    # Unscheduled pods have no container yet; upstream's controller does not see them (dask/dask-gateway#252).
    return State.RUNNING if get_container_state(pod, component) == "running" else State.WAITING


def quantity(text: str) -> Decimal:
    """Return a quantity of Kubernetes as a number.

    Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity. Raises
    ``decimal.InvalidOperation`` for a text that is not a quantity.
    """
    number = text.rstrip("".join(SUFFIXES))
    return Decimal(number) * SUFFIXES.get(text[len(number) :], Decimal(1))


class Ledger:
    """All pods that the controller knows, and those that it is creating.

    Callers reserve a pod here before the first await of its creation, so that concurrent reconciles see it. That keeps
    the count exact for any number of clusters that change at once.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._of_user: defaultdict[str, set[str]] = defaultdict(set)
        self._of_cluster: defaultdict[str, set[str]] = defaultdict(set)
        self._lost: set[str] = set()
        """Pods that were deleted while others were being created: a deleted pod may be one of the created ones."""
        self._creating: set[str] = set()
        self._unseen: set[str] = set()
        self._numbers = itertools.count()

    def saw(self, pod_key: str, entry: Entry) -> Entry | None:
        """Store what the informer tells of a pod; return the entry before."""
        before = self._entries.get(pod_key)
        if before is not None and before.state in (State.LEAVING, State.REMOVED):
            # The controller has deleted it; an event from before the deletion does not change that.
            entry = replace(entry, state=State.REMOVED if entry.state in ENDED_STATES else before.state)
        self._put(pod_key, entry)
        return before

    def lost(self, pod_key: str) -> Entry | None:
        """Drop a pod that is gone; return its entry."""
        if self._creating:
            self._lost.add(pod_key)
        return self._drop(pod_key)

    def reserve(self, entry: Entry) -> str:
        """Count a pod that is about to be created; return a token for :meth:`created` or :meth:`not_created`."""
        token = f"creating {next(self._numbers)}"
        self._creating.add(token)
        self._put(token, replace(entry, state=State.CREATING))
        return token

    def created(self, token: str, pod_key: str) -> None:
        """Replace a reservation by the pod, which exists under this key."""
        entry = self._settle(token)
        if entry is not None and pod_key not in self._entries and pod_key not in self._lost:
            self._put(pod_key, replace(entry, state=State.WAITING))
        self._forget_lost()

    def not_created(self, token: str) -> None:
        """Drop a reservation whose pod is not created; without effect after :meth:`created` and when repeated."""
        self._settle(token)
        self._forget_lost()

    def leaving(self, pod_key: str) -> None:
        """Note that the controller deletes a pod."""
        entry = self._entries.get(pod_key)
        if entry is not None:
            self._put(pod_key, replace(entry, state=State.REMOVED if entry.state in ENDED_STATES else State.LEAVING))

    def not_leaving(self, pod_key: str) -> None:
        """Note that the deletion of a pod has failed."""
        entry = self._entries.get(pod_key)
        if entry is not None:
            self._put(pod_key, replace(entry, state=State.ENDED if entry.state in ENDED_STATES else State.WAITING))

    def forget_unseen(self, seen: Container[str]) -> None:
        """Drop pods that are neither among those seen now nor were at the last call.

        The informer has missed such a pod: it was created and deleted between a watch and the following list.
        """
        unseen = {key for key in self._entries if key not in seen and key not in self._creating}
        for key in unseen & self._unseen:
            self._drop(key)
        self._unseen = unseen

    def held(self, user: str) -> dict[str, Resources]:
        """Return what a user holds: key of the cluster -> resources of its pods."""
        return self._sums(user, HOLDING_STATES)

    def becoming_free(self, user: str) -> Resources:
        """Return the resources of the user's pods that are being deleted."""
        return sum_of(self._sums(user, (State.LEAVING,)).values())

    def _sums(self, user: str, states: Container[State]) -> dict[str, Resources]:
        found: defaultdict[str, Resources] = defaultdict(Resources)
        for key in self._of_user.get(user, ()):
            entry = self._entries[key]
            if entry.state in states:
                found[entry.cluster] += entry.amount
        return dict(found)

    def workers(self, cluster: str, *states: State) -> list[str]:
        """Return the keys of a cluster's workers in these states."""
        found = (key for key in self._of_cluster.get(cluster, ()) if self._entries[key].is_worker)
        return sorted(key for key in found if self._entries[key].state in states)

    def has_scheduler(self, cluster: str) -> bool:
        """Return whether a cluster's scheduler exists or is being created."""
        return any(not self._entries[key].is_worker for key in self._of_cluster.get(cluster, ()))

    def _put(self, key: str, entry: Entry) -> None:
        self._entries[key] = entry
        self._of_user[entry.user].add(key)
        self._of_cluster[entry.cluster].add(key)

    def _drop(self, key: str) -> Entry | None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            for index, value in ((self._of_user, entry.user), (self._of_cluster, entry.cluster)):
                index[value].discard(key)
                if not index[value]:
                    del index[value]
        return entry

    def _settle(self, token: str) -> Entry | None:
        self._creating.discard(token)
        return self._drop(token)

    def _forget_lost(self) -> None:
        if not self._creating:
            self._lost.clear()
