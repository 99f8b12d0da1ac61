"""The backend inside the API server: upstream's, with checked requests, in its own namespace only."""

import asyncio
import re
from base64 import b64encode
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
from gateway.identity import accounts, directory, pool
from gateway.identity.accounts import Account
from gateway.identity.authenticator import FacilityUser
from gateway.kubernetes import connection, names
from gateway.kubernetes.api import estimate, listing
from gateway.kubernetes.api.pool_holders import ConfigMapHolders
from gateway.kubernetes.configuration import cluster_config, secret_content
from gateway.kubernetes.connection import FAULTS, NOT_FOUND
from gateway.kubernetes.informers import cluster_informer
from gateway.request import quota
from gateway.request.options import ClusterRequest
from gateway.service import scheduler_reports
from gateway.service.backend import Created, FacilityBackend, Prepared
from gateway.site import AccountSource, Backend

GROUP = "gateway.dask.org"
PLURAL = "daskclusters"
CLUSTER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""What may be the name of a cluster, without the namespace (a label of RFC 1123)."""
PREFLIGHT_SECONDS = 8.0
"""How long an answer to a new cluster waits for what its scheduler's pod finds. The client would wait anyway; a cluster
that fails later tells its reason when the client asks whether it has started."""


class FacilityKubeBackend(FacilityBackend, KubeBackend):  # type: ignore[misc] # upstream has no types
    """Upstream's backend with a namespaced informer, so that Roles in the namespace are all that it needs."""

    kind = Backend.KUBERNETES
    namespace = Unicode(help="The namespace of all clusters.", config=True)

    async def setup(self, app: web.Application) -> None:
        """Connect to Kubernetes and start to follow the clusters.

        Upstream's own method can't be reused: it starts a cluster-wide informer (dask/dask-gateway#661).
        """
        self.setup_requests(app)
        app.on_shutdown.append(self._end_waiting)
        await UpstreamBackend.setup(self, app)
        self.api_client = await connection.open_client()
        self.core_client = client.CoreV1Api(api_client=self.api_client)
        self.custom_client = client.CustomObjectsApi(api_client=self.api_client)

        self.cluster_waiters: defaultdict[str, Flag] = defaultdict(Flag)
        self.clusters: dict[str, Cluster] = {}
        self.username_to_clusters: defaultdict[str, dict[str, Cluster]] = defaultdict(dict)
        self.directory = directory.of_identity(self.site.identity)
        self.holders: pool.Holders = ConfigMapHolders(
            self.core_client, names.pool_holders_name(self.site.kubernetes.release), self.namespace
        )
        self.queue = WorkQueue()
        self.informer = cluster_informer(self, on_update=self.on_cluster_event, on_delete=self.on_cluster_event)
        await self.informer.start()
        # Upstream's loop does it one by one, and meanwhile a new replica would list a part of them only.
        await asyncio.gather(*map(self.sync_cluster, list(self.informer.cache)), return_exceptions=True)
        self.sync_task = asyncio.ensure_future(self.sync_clusters_loop())

    def setup_requests(self, app: web.Application) -> None:
        """See :meth:`FacilityBackend.setup_requests`; take schedulers' starts, and list clusters quickly."""
        super().setup_requests(app)
        app.middlewares.append(listing.written_once)
        scheduler_reports.take_starts(app, self.note_start)

    async def _end_waiting(self, _: web.Application) -> None:
        """Answer clients that wait for a cluster to start: they ask again, and reach another replica."""
        for waiter in self.cluster_waiters.values():
            waiter.set()

    async def get_cluster(self, cluster_name: str, wait: bool = False) -> Cluster | None:
        """See :meth:`FacilityBackend.get_cluster`; clusters that another replica has made or seen start included."""
        known = self.clusters.get(cluster_name)
        if (known is None or known.status is ClusterStatus.PENDING) and not await self._catch_up(cluster_name):
            return None
        return await super().get_cluster(cluster_name, wait=wait)

    async def _catch_up(self, name: str) -> bool:
        """Have the latest of a cluster, of which the informer brings news late; returns whether there is one."""
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
            self.log.warning("Kubernetes does not tell about cluster %s: %s", name, connection.message_of(error))
            return name in self.clusters
        return latest is not None

    async def _read(self, short: str) -> dict[str, Any] | None:
        """The object of a cluster of this gateway, if there is one. Raises ``ApiException``, ``ClientError``."""
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
        """Stop a cluster. Raises :class:`Refusal` for one that upstream takes for failed.

        Upstream stops clusters whose scheduler an API server does not reach, which is a fault of the API server's place
        as often as of the scheduler. Whether a scheduler lives is for the controller to say.
        """
        if failed:
            raise Refusal(f"The scheduler of cluster {cluster_name} does not answer now; try again.")
        await super().stop_cluster(cluster_name)

    async def note_client(self, name: str) -> None:
        """Note that a client is connected to a cluster, for the controller."""
        await self._note(name, {names.LAST_CLIENT: k8s_timestamp()})

    async def note_start(self, name: str, address: str | None) -> None:
        """Note that a cluster's scheduler listens, and where if that is known, for the controller."""
        where = {} if address is None else {names.ADDRESS: address}
        await self._note(name, {names.STARTED: k8s_timestamp(), **where})

    async def _note(self, name: str, noted: Mapping[str, str]) -> None:
        """Note something in a cluster's spec."""
        namespace, _, short = name.partition(".")
        change = [{"op": "add", "path": f"/spec/{field}", "value": value} for field, value in noted.items()]
        # Gone when an administrator has deleted it, and its scheduler still runs.
        with connection.accepting(NOT_FOUND):
            await self.custom_client.patch_namespaced_custom_object(
                GROUP, self.crd_version, namespace, PLURAL, short, change
            )

    def cluster_config(self, request: ClusterRequest) -> dict[str, Any]:
        """See :func:`gateway.kubernetes.configuration.cluster_config`."""
        return cluster_config(self.site, request)

    async def account_of(self, user: FacilityUser, env: dict[str, object]) -> Account:
        """The account under which the user's cluster runs. Raises :class:`Refusal`."""
        if user.user_class.account is not AccountSource.POOL:
            return await super().account_of(user, env)
        return await pool.claimed_account(env, user.user_class.label, self.site.identity, self.directory)

    async def _create_cluster(self, user: FacilityUser, prepared: Prepared) -> Created:
        """Create the DaskCluster. For a user of the pool, record the user as holder of the account before."""
        if user.user_class.account is AccountSource.POOL:
            await self.holders.hold(prepared.request.account.uid, user.name)
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
        """What the user is told whose total leaves no room for so many workers of a cluster; None if it does.

        The wish is the scheduler's and stays: the controller fulfils it when the user frees room.
        """
        cluster = self.informer.get(cluster_name)
        if cluster is None:
            return None
        held, total = self._held_of_total(cluster["spec"]["username"])
        grant = estimate.grant(cluster, wanted, held, total)
        return quota.trimmed(wanted, grant, held, total) if grant < wanted else None

    def _held_of_total(self, username: str) -> tuple[dict[str, quota.Resources], quota.Resources]:
        """What the user's clusters hold, and what they may hold together."""
        user_class = accounts.classify(username, self.site.identity.classes)
        total = quota.Resources.of_total(estimate.total_of(self.site.kubernetes, user_class.name))
        return estimate.held(self.informer.cache.values(), username), total

    async def _store_variables(self, cluster: Mapping[str, Any], request: ClusterRequest) -> None:
        """Put the user's variables into a Secret that goes with the cluster. The scheduler's pod waits for it.

        Raises :class:`Refusal`.
        """
        name = cluster["metadata"]["name"]
        secret = {
            "metadata": {
                "name": names.variables_name(name),
                "labels": self.get_labels(name, "variables"),
                "ownerReferences": [
                    {
                        "apiVersion": cluster["apiVersion"],
                        "kind": cluster["kind"],
                        "name": name,
                        "uid": cluster["metadata"]["uid"],
                    }
                ],
            },
            "data": {key: b64encode(content).decode() for key, content in secret_content(request).items()},
        }
        await self.core_client.create_namespaced_secret(self.namespace, secret)
        now = await self._read(name)
        # The controller may have looked for the Secret of a stopped cluster before there was one.
        if now is None or not now["spec"].get("active", True):
            raise Refusal(f"The cluster {name} was stopped while it was started.")

    async def _await_preflight(self, name: str) -> None:
        """Wait until the scheduler's pod has checked the environment. Raises :class:`Refusal` with what it found."""
        waiter = self.cluster_waiters[name]
        try:
            await asyncio.wait_for(waiter, PREFLIGHT_SECONDS)
        except TimeoutError:
            return
        reason = self.reason_of(name)
        if reason is not None:
            raise Refusal(reason)

    async def _delete(self, name: str) -> None:
        """Delete a cluster with all that belongs to it."""
        namespace, _, short = name.partition(".")
        self.log.info("Deleting cluster %s", name)
        with connection.accepting(NOT_FOUND):
            await self.custom_client.delete_namespaced_custom_object(GROUP, self.crd_version, namespace, PLURAL, short)

    def reason_of(self, name: str) -> str | None:
        """Why a cluster failed, as the controller noted it."""
        status: Mapping[str, Any] = (self.informer.get(name) or {}).get("status", {})
        return status.get("reason")


def _version(cluster: Mapping[str, Any]) -> str:
    return str(cluster["metadata"]["resourceVersion"])
