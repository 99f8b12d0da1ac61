"""What a user's total allows now. No I/O."""

from collections.abc import Mapping
from typing import Any, Protocol

from gateway.kubernetes import names
from gateway.kubernetes.cluster_spec import class_of, worker_resources
from gateway.kubernetes.controller.ledger import Entry, Ledger, entry_to_create
from gateway.kubernetes.controller.start_errors import NoRoomError, RoomSoonError
from gateway.kubernetes.controller.waiting import WaitingClusters
from gateway.kubernetes.dask_clusters import key_of, user_of
from gateway.request import quota
from gateway.site import Site


class Informer(Protocol):
    """An informer, read by keys ``NAMESPACE.NAME``."""

    def get(self, name: str) -> Mapping[str, Any] | None:
        """Return the object with this key, or None."""


class UserTotals:
    """Decide by ledger and waiting clusters how much of their user's total clusters may take."""

    def __init__(self, site: Site, ledger: Ledger, waiting: WaitingClusters, clusters: Informer) -> None:
        self._site, self._ledger, self._waiting, self._clusters = site, ledger, waiting, clusters

    def entry_to_create(self, cluster: Mapping[str, Any], component: str) -> Entry:
        """Return the ledger's entry of a scheduler or worker that a cluster does not have yet."""
        return entry_to_create(cluster, component, self._site.kubernetes)

    def check_scheduler(self, cluster: Mapping[str, Any]) -> None:
        """Raise :class:`NoRoomError` or :class:`RoomSoonError` if the total has no room for a cluster's scheduler."""
        entry = self.entry_to_create(cluster, names.SCHEDULER_COMPONENT)
        total, held = self._total_of(cluster), self._ledger.held(entry.user)
        room = total - quota.sum_of(held.values())
        if room.covers(entry.amount):
            return
        if (room + self._ledger.becoming_free(entry.user)).covers(entry.amount):
            raise RoomSoonError
        raise NoRoomError(quota.refusal(entry.amount, held, total))

    def grant_workers(self, cluster: Mapping[str, Any], missing: int) -> int:
        """Return how many of its missing workers a cluster may have now, beside its user's waiting clusters."""
        key, user = key_of(cluster), user_of(cluster)
        total, held = self._total_of(cluster), self._ledger.held(user)
        wanted = {**self._waiting.of(user), key: missing}
        known = {name: self._clusters.get(name) for name in wanted} | {key: cluster}
        claims = [
            quota.Claim(name, held.get(name, quota.Resources()), worker_resources(other), count)
            for name, count in sorted(wanted.items())
            if (other := known[name]) is not None
        ]
        return quota.granted(total - quota.sum_of(held.values()), total, claims)[key]

    def _total_of(self, cluster: Mapping[str, Any]) -> quota.Resources:
        user_class = class_of(cluster["spec"]["username"], self._site)
        gateway = self._site.kubernetes
        return quota.Resources.of_total(gateway.total_of(user_class.name), gateway.maximum_workers.per_user)
