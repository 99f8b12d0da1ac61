"""Workers: as many as a cluster requests and its user's total allows."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dask_gateway_server.utils import FrozenAttrDict

from gateway.errors import Refusal
from gateway.kubernetes import connection
from gateway.kubernetes.connection import FAULTS, NOT_FOUND, message_of
from gateway.kubernetes.controller import endpoint_slices
from gateway.kubernetes.controller.ledger import PRESENT_STATES, Ledger, State
from gateway.kubernetes.controller.requests import Requests
from gateway.kubernetes.controller.user_totals import UserTotals
from gateway.kubernetes.controller.waiting import WaitingClusters
from gateway.kubernetes.dask_clusters import key_of
from gateway.kubernetes.names import WORKER_COMPONENT

MOST_AT_ONCE = 32
"""Workers created or deleted at once. Bounds how long one batch blocks the event loop: each takes some milliseconds."""


class Workers:
    """Create and delete the workers of clusters.

    Upstream's controller counts wrongly while workers are unscheduled, and deletes the wrong ones
    (dask/dask-gateway#252); it has no bound over all clusters of a user (#313).
    """

    def __init__(
        self,
        core_client: Any,
        namespace: str,
        *,
        requests: Requests,
        make_pod: Callable[..., dict[str, Any]],
        totals: UserTotals,
        ledger: Ledger,
        waiting: WaitingClusters,
        log: logging.Logger,
    ) -> None:
        """``make_pod`` is upstream's method of the controller."""
        self._core_client, self._namespace, self._requests, self._make_pod = core_client, namespace, requests, make_pod
        self._totals, self._ledger, self._waiting, self._log = totals, ledger, waiting, log

    def count(self, cluster: Mapping[str, Any]) -> int:
        """Return how many workers a cluster has or is about to have."""
        return len(self._ledger.workers(key_of(cluster), *PRESENT_STATES))

    async def reconcile(self, cluster: Mapping[str, Any], scheduler: Mapping[str, Any]) -> bool:
        """Create and delete workers; return whether some of that failed and has to be retried."""
        key = key_of(cluster)
        configured = await self._configured(cluster) if self._missing(cluster) > 0 else None
        # Counted after the await, and reserved before the next one, so that concurrent reconciles see it.
        missing = self._missing(cluster)
        grant = self._totals.grant_workers(cluster, missing) if missing > 0 and configured is not None else 0
        # The scheduler itself closes running workers: it moves their data away first.
        waiting = self._ledger.workers(key, State.WAITING) if missing < 0 else []
        superfluous = [*waiting[missing:], *self._ledger.workers(key, State.ENDED)]
        if grant or superfluous:
            self._log.info("Cluster %s: creating %d workers, deleting %d", key, grant, len(superfluous))
        if missing <= grant or configured is None:
            self._waiting.discard(cluster)
        else:
            self._waiting.put(cluster, missing - grant)
        pod = self._pod_of(configured, scheduler) if grant and configured is not None else {}
        entry = self._totals.entry_to_create(cluster, WORKER_COMPONENT)
        tokens = [self._ledger.reserve(entry) for _ in range(grant)]
        created = await self._create(pod, tokens)
        deleted = await self.delete(superfluous)
        return (missing > 0 and configured is None) or not (created and deleted)

    def _missing(self, cluster: Mapping[str, Any]) -> int:
        """Return how many workers a cluster lacks; a negative number of superfluous ones."""
        return int(cluster["spec"].get("replicas", 0)) - self.count(cluster)

    async def _configured(self, cluster: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the cluster with the configuration of its pods; None while its user has no account.

        Such a cluster keeps the workers that it has.
        """
        try:
            return await self._requests.with_config(cluster)
        except Refusal as refusal:
            self._log.warning("Cluster %s gets no new workers now: %s", key_of(cluster), refusal)
            return None

    def _pod_of(self, cluster: Mapping[str, Any], scheduler: Mapping[str, Any]) -> dict[str, Any]:
        metadata = cluster["metadata"]
        config = FrozenAttrDict(cluster["spec"]["config"])
        pod = self._make_pod(metadata["namespace"], metadata["name"], config, is_worker=True)
        pod["metadata"]["ownerReferences"] = [endpoint_slices.owner(scheduler)]
        return pod

    async def _create(self, pod: Mapping[str, Any], tokens: Sequence[str]) -> bool:
        """Create a worker for each token; return whether all creations succeeded.

        Batches double, as upstream's do: Kubernetes refuses the first worker, not a hundred of them. Batches are also
        bounded: half of 400 workers at once took seconds of one turn of the event loop.
        """
        try:
            done, size = 0, 1
            while done < len(tokens):
                batch = tokens[done : done + size]
                if not all(await asyncio.gather(*(self._create_one(pod, token) for token in batch))):
                    return False
                done, size = done + size, min(2 * size, MOST_AT_ONCE)
            return True
        finally:
            for token in tokens:
                self._ledger.not_created(token)

    async def _create_one(self, pod: Mapping[str, Any], token: str) -> bool:
        try:
            made = await self._core_client.create_namespaced_pod(self._namespace, pod)
        except FAULTS as error:
            self._log.warning("A worker was not created: %s", message_of(error))
            return False
        self._ledger.created(token, f"{self._namespace}.{made.metadata.name}")
        return True

    async def delete(self, pod_keys: Sequence[str]) -> bool:
        """Delete workers, a bounded number at once; return whether Kubernetes has accepted every deletion.

        A worker that is gone already counts as deleted.
        """
        all_accepted = True
        for start in range(0, len(pod_keys), MOST_AT_ONCE):
            batch = pod_keys[start : start + MOST_AT_ONCE]
            all_accepted &= all(await asyncio.gather(*map(self._delete_one, batch)))
        return all_accepted

    async def _delete_one(self, pod_key: str) -> bool:
        self._ledger.leaving(pod_key)
        namespace, _, name = pod_key.partition(".")
        try:
            # Upstream reads the attribute ``code`` of the error, which does not exist (not reported).
            with connection.accepting(NOT_FOUND):
                await self._core_client.delete_namespaced_pod(name, namespace)
        except FAULTS as error:
            self._ledger.not_leaving(pod_key)
            self._log.warning("The worker %s was not deleted: %s", name, message_of(error))
            return False
        return True
