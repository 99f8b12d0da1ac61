"""When a cluster must end: the user stops it, or one of its timeouts expires."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.kubernetes import dask_clusters, names
from gateway.kubernetes.controller import reasons
from gateway.kubernetes.controller.lifecycle import Elapsed, available_seconds
from gateway.service.termination import EndCause, Termination
from gateway.site import KubernetesGateway

REPORTING_SECONDS = 30.0
"""After the API server or the controller was away for a while, all schedulers have reported their clients within this.

A scheduler retries once a second, and a try times out after 20 s (tornado's limit)."""

Pod = Mapping[str, Any]


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


class Deadlines:
    """Decide whether a cluster must end now, else requeue it for its next timeout."""

    def __init__(
        self,
        gateway: KubernetesGateway,
        core_client: Any,
        apps_client: Any,
        *,
        serialized: Callable[[Any], Any],
        scheduler_of: Callable[[Mapping[str, Any]], Pod | None],
        requeue_after: Callable[[str, float], None],
        working_seconds: Callable[[], float],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """``serialized`` turns an answer of Kubernetes into JSON; ``scheduler_of`` returns a cluster's scheduler pod.

        ``working_seconds`` tells for how long this controller has held the lease: before that, Kubernetes' API server
        may have been away too.
        """
        self._gateway, self._core_client, self._apps_client = gateway, core_client, apps_client
        self._serialized = serialized
        self._scheduler_of, self._requeue_after = scheduler_of, requeue_after
        self._working_seconds, self._now = working_seconds, now

    async def termination_of(self, cluster: Mapping[str, Any]) -> Termination | None:
        """Return why the cluster must end now, or requeue it for its next timeout."""
        if not dask_clusters.is_active(cluster):
            return reasons.STOPPED
        elapsed, timeouts = Elapsed.of(cluster, self._now()), self._gateway.timeouts
        end = elapsed.termination(timeouts)
        if end is not None and end.cause is EndCause.CLIENT_GONE:
            unsure_seconds = REPORTING_SECONDS - await self._reporting_seconds()
            if unsure_seconds > 0:
                self._requeue_after(dask_clusters.key_of(cluster), unsure_seconds)
                return None
        if end is not None:
            return end
        if elapsed.start_left_seconds(timeouts) <= 0:
            return await self._start_timeout(cluster)
        self._requeue_after(dask_clusters.key_of(cluster), elapsed.left_seconds(timeouts))
        return None

    async def _reporting_seconds(self) -> float:
        """Return for how long schedulers have certainly been able to report clients; 0 or less if they are not."""
        # By name, because a right to list pods would show the tokens in the pods of JupyterHub.
        found = await self._apps_client.read_namespaced_deployment(
            names.api_name(self._gateway.release), self._gateway.namespace
        )
        return min(self._working_seconds(), available_seconds(found, self._now()))

    async def _start_timeout(self, cluster: Mapping[str, Any]) -> Termination:
        scheduler = self._scheduler_of(cluster)
        events: list[dict[str, Any]] = []
        if scheduler is not None:
            selector = f"involvedObject.uid={scheduler['metadata']['uid']}"
            found = await self._core_client.list_namespaced_event(
                self._gateway.clusters_namespace, field_selector=selector
            )
            events = self._serialized(found)["items"]
            events.sort(key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        return reasons.of_delay(scheduler, events, self._gateway.timeouts.start_seconds)
