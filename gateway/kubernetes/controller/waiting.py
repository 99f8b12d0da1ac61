"""Clusters that wait for room in their user's total. No I/O."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from gateway.kubernetes.dask_clusters import key_of, user_of


class WaitingClusters:
    """Each user's waiting clusters, and how many workers each of them lacks."""

    def __init__(self) -> None:
        self._missing: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def put(self, cluster: Mapping[str, Any], missing: int) -> None:
        """Note that a cluster lacks so many workers; 0 for a cluster that waits for room for its scheduler."""
        self._missing[user_of(cluster)][key_of(cluster)] = missing

    def discard(self, cluster: Mapping[str, Any]) -> None:
        """Note that a cluster does not wait, or not any longer."""
        self._missing.get(user_of(cluster), {}).pop(key_of(cluster), None)

    def of(self, user: str) -> dict[str, int]:
        """Return a user's waiting clusters: key of the cluster -> number of missing workers."""
        return dict(self._missing.get(user, {}))
