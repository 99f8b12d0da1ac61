"""The backend inside the API server: upstream's, but it watches only its own namespace."""

import asyncio
from collections import defaultdict

from aiohttp import web
from dask_gateway_server.backends.base import Backend
from dask_gateway_server.backends.kubernetes.backend import KubeBackend
from dask_gateway_server.models import Cluster
from dask_gateway_server.utils import Flag
from dask_gateway_server.workqueue import WorkQueue
from kubernetes_asyncio import client
from traitlets import Unicode

from gateway.kubernetes import connection
from gateway.kubernetes.informers import cluster_informer


class FacilityKubeBackend(KubeBackend):  # type: ignore[misc] # upstream has no types
    """Upstream's backend with a namespaced informer, so that Roles in the namespace are all that it needs."""

    namespace = Unicode(help="The namespace of all clusters.", config=True)

    async def setup(self, app: web.Application) -> None:
        """Connect to Kubernetes and start to follow the clusters.

        Upstream's own method can't be reused: it starts a cluster-wide informer (dask/dask-gateway#661).
        """
        await Backend.setup(self, app)
        self.api_client = await connection.open_client()
        self.core_client = client.CoreV1Api(api_client=self.api_client)
        self.custom_client = client.CustomObjectsApi(api_client=self.api_client)

        self.cluster_waiters: defaultdict[str, Flag] = defaultdict(Flag)
        self.clusters: dict[str, Cluster] = {}
        self.username_to_clusters: defaultdict[str, dict[str, Cluster]] = defaultdict(dict)
        self.queue = WorkQueue()
        self.informer = cluster_informer(self, on_update=self.on_cluster_event, on_delete=self.on_cluster_event)
        await self.informer.start()
        self.sync_task = asyncio.ensure_future(self.sync_clusters_loop())
