"""The back end inside the API server: upstream's for one namespace, with checked requests."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from dask_gateway_server.backends.base import Backend as UpstreamBackend
from dask_gateway_server.backends.kubernetes.backend import KubeBackend
from dask_gateway_server.backends.kubernetes.utils import k8s_timestamp
from dask_gateway_server.models import Cluster, ClusterStatus
from dask_gateway_server.utils import Flag
from dask_gateway_server.workqueue import WorkQueue
from kubernetes_asyncio import client
from kubernetes_asyncio.client.rest import ApiException
from traitlets import Unicode

from gateway.errors import Refusal
from gateway.identity import accounts
from gateway.identity.authenticator import FacilityUser
from gateway.kubernetes import connection, dask_clusters, names, pods, variables_secret
from gateway.kubernetes.api import estimate, listing
from gateway.kubernetes.connection import FAULTS, NOT_FOUND
from gateway.kubernetes.dask_clusters import GROUP, PLURAL
from gateway.kubernetes.informers import cluster_informer
from gateway.request import quota
from gateway.request.options import ClusterRequest
from gateway.service import scheduler_reports
from gateway.service.backend import Created, FacilityBackend, Prepared
from gateway.site import Backend

CLUSTER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""A valid name of a cluster, without the namespace (a label of RFC 1123)."""
PREFLIGHT_SECONDS = 8.0
"""How long the answer to a new cluster waits for the scheduler pod's preflight. The client would wait anyway. If a
cluster fails later, the client reads the reason when it polls the cluster."""


class FacilityKubeBackend(FacilityBackend, KubeBackend):  # type: ignore[misc] # upstream has no types
    """Upstream's back end with a namespaced informer, so that Roles in the namespace suffice."""

    kind = Backend.KUBERNETES
    namespace = Unicode(help="The namespace of all clusters.", config=True)

    async def setup(self, app: web.Application) -> None:
        """Connect to Kubernetes and start the informer of clusters.

        Upstream's own method can't be reused: it starts a cluster-wide informer (dask/dask-gateway#661).
        """
        self.setup_requests(app)
        app.on_shutdown.append(self.answer_waiting_clients)
        await UpstreamBackend.setup(self, app)
        self.api_client = await connection.open_client()
        self.core_client = client.CoreV1Api(api_client=self.api_client)
        self.custom_client = client.CustomObjectsApi(api_client=self.api_client)

        self.cluster_waiters: defaultdict[str, Flag] = defaultdict(Flag)
        self.clusters: dict[str, Cluster] = {}
        self.username_to_clusters: defaultdict[str, dict[str, Cluster]] = defaultdict(dict)
        self.queue = WorkQueue()
        self.informer = cluster_informer(self, on_update=self.on_cluster_event, on_delete=self.on_cluster_event)
        await self.informer.start()
        # All at once: upstream's loop does it one by one, and a new replica would list only some of them meanwhile.
        await asyncio.gather(*map(self.sync_cluster, list(self.informer.cache)), return_exceptions=True)
        self.sync_task = asyncio.ensure_future(self.sync_clusters_loop())

    def setup_requests(self, app: web.Application) -> None:
        """Do what :meth:`FacilityBackend.setup_requests` does; accept start reports, and list clusters quickly."""
        super().setup_requests(app)
        app.middlewares.append(listing.serialized_once)
        scheduler_reports.take_starts(app, self.note_start)

    async def answer_waiting_clients(self, _: web.Application) -> None:
        """Answer clients that wait for a cluster to start, at shutdown: they poll again, and reach another replica."""
        for waiter in self.cluster_waiters.values():
            waiter.set()

    async def get_cluster(self, cluster_name: str, wait: bool = False) -> Cluster | None:
        """Return a cluster as :meth:`FacilityBackend.get_cluster` does.

        That includes clusters that another replica has created or seen start a moment ago.
        """
        known = self.clusters.get(cluster_name)
        if (known is None or known.status is ClusterStatus.PENDING) and not await self._catch_up(cluster_name):
            return None
        return await super().get_cluster(cluster_name, wait=wait)

    async def _catch_up(self, name: str) -> bool:
        """Read a cluster from Kubernetes, because the informer's events are late; return whether it exists."""
        namespace, _, short = name.partition(".")
        if namespace != self.namespace or not CLUSTER_NAME.fullmatch(short):
            return False
        try:
            latest = await self._read(short)
            before = self.informer.get(name)
            if latest is not None and (before is None or _version(before) != _version(latest)):
                self.informer.handle(latest, "MODIFIED")
                await self.sync_cluster(name)
            elif latest is None and before is not None:
                self.informer.handle(before, "DELETED")
                await self.sync_cluster(name)
        except FAULTS as error:
            self.log.warning("Cluster %s can't be read from Kubernetes: %s", name, connection.message_of(error))
            return name in self.clusters
        return latest is not None

    async def _read(self, short: str) -> dict[str, Any] | None:
        """Return the DaskCluster of this gateway with a name, or None.

        Raises ``ApiException`` and the other :data:`FAULTS`.
        """
        try:
            found: dict[str, Any] = await self.custom_client.get_namespaced_custom_object(
                GROUP, self.crd_version, self.namespace, PLURAL, short
            )
        except ApiException as error:
            if error.status != NOT_FOUND:
                raise
            return None
        is_ours = found["metadata"].get("labels", {}).get(names.INSTANCE_LABEL) == self.gateway_instance
        return found if is_ours else None

    async def stop_cluster(self, cluster_name: str, failed: bool = False) -> None:
        """Stop a cluster. Raises :class:`Refusal` for a cluster that upstream takes for failed.

        Upstream stops a cluster when an API server can't reach its scheduler. The API server's node or network causes
        that as often as the scheduler. The controller decides whether a scheduler lives.
        """
        if failed:
            raise Refusal(f"The scheduler of cluster {cluster_name} does not answer now: try again.")
        await super().stop_cluster(cluster_name)

    async def note_client(self, name: str) -> None:
        """Note in the DaskCluster, for the controller, that a client is connected."""
        await self._note(name, {dask_clusters.LAST_CLIENT: k8s_timestamp()})

    async def note_start(self, name: str, address: str | None) -> None:
        """Note in the DaskCluster, for the controller, that the scheduler listens, and its IP address if known."""
        where = {} if address is None else {dask_clusters.ADDRESS: address}
        await self._note(name, {dask_clusters.STARTED: k8s_timestamp(), **where})

    async def _note(self, name: str, noted: Mapping[str, str]) -> None:
        """Store values in a DaskCluster's spec."""
        namespace, _, short = name.partition(".")
        change = [{"op": "add", "path": f"/spec/{field}", "value": value} for field, value in noted.items()]
        # An administrator may have deleted the DaskCluster while its scheduler still runs.
        with connection.accepting(NOT_FOUND):
            await self.custom_client.patch_namespaced_custom_object(
                GROUP, self.crd_version, namespace, PLURAL, short, change
            )

    def cluster_config(self, request: ClusterRequest) -> dict[str, Any]:
        """Return the traits of a cluster's pods: see :func:`gateway.kubernetes.pods.cluster_config`."""
        return pods.cluster_config(self.site, request)

    async def _create_cluster(self, user: FacilityUser, prepared: Prepared) -> Created:
        """Create the DaskCluster."""
        cluster = await self.custom_client.create_namespaced_custom_object(
            GROUP,
            self.crd_version,
            self.namespace,
            PLURAL,
            self.make_cluster_object(user.name, prepared.options, prepared.config),
        )
        name = str(self.get_cluster_name(cluster))
        self.log.info("Created cluster %s for user %s", name, user.name)
        return Created(name, cluster)

    async def _verify_cluster(self, created: Created, request: ClusterRequest) -> None:
        """Store the variables, for which the scheduler's pod waits, and wait until the pod's preflight has passed."""
        await self._store_variables(created.handle, request)
        await self._await_preflight(created.name)

    async def _abandon_cluster(self, created: Created, error: BaseException) -> BaseException:
        """Delete the DaskCluster, and with it all objects that it owns."""
        await self._delete(created.name)
        return error

    def advice_of_scaling(self, cluster_name: str, wanted: int) -> str | None:
        """Return a warning for the user if the total has no room for so many workers of a cluster, else None.

        The scheduler still requests all of them: the controller creates the missing ones when the user frees room.
        """
        cluster = self.informer.get(cluster_name)
        if cluster is None:
            return None
        held, total = self._held_of_total(cluster["spec"]["username"])
        grant = estimate.grant(cluster, wanted, held, total)
        return quota.trimmed(wanted, grant, held, total) if grant < wanted else None

    def _held_of_total(self, username: str) -> tuple[dict[str, quota.Resources], quota.Resources]:
        """Return what each of the user's clusters holds, and the user's total."""
        user_class = accounts.classify(username, self.site.identity.classes)
        total = quota.Resources.of_total(self.site.kubernetes.total_of(user_class.name))
        return estimate.held(self.informer.cache.values(), username), total

    async def _store_variables(self, cluster: Mapping[str, Any], request: ClusterRequest) -> None:
        """Create the Secret with the user's variables, for which the scheduler pod waits.

        Raises :class:`Refusal` when the user has stopped the cluster meanwhile.
        """
        name = cluster["metadata"]["name"]
        secret = variables_secret.secret(cluster, self.get_labels(name, "variables"), request)
        await self.core_client.create_namespaced_secret(self.namespace, secret)
        now = await self._read(name)
        # The controller deletes the Secret of a stopped cluster: it may have tried that before the Secret existed.
        if now is None or not dask_clusters.is_active(now):
            raise Refusal(f"The cluster {name} was stopped while it started.")

    async def _await_preflight(self, name: str) -> None:
        """Wait for the scheduler pod's preflight. Raises :class:`Refusal` with the reason why the cluster failed."""
        waiter = self.cluster_waiters[name]
        try:
            await asyncio.wait_for(waiter, PREFLIGHT_SECONDS)
        except TimeoutError:
            return
        reason = self.reason_of(name)
        if reason is not None:
            raise Refusal(reason)

    async def _delete(self, name: str) -> None:
        """Delete a DaskCluster; Kubernetes deletes the objects that it owns."""
        namespace, _, short = name.partition(".")
        self.log.info("Deleting cluster %s", name)
        with connection.accepting(NOT_FOUND):
            await self.custom_client.delete_namespaced_custom_object(GROUP, self.crd_version, namespace, PLURAL, short)

    def reason_of(self, name: str) -> str | None:
        """Return why a cluster failed, as the controller noted it in the status."""
        status: Mapping[str, Any] = (self.informer.get(name) or {}).get("status", {})
        return status.get("reason")


def _version(cluster: Mapping[str, Any]) -> str:
    return str(cluster["metadata"]["resourceVersion"])
