"""The part of the back end that has Traefik in place of upstream's proxy."""

from typing import Any

from dask_gateway_server.backends.db_base import Cluster, DBBackendBase, JobStatus
from dask_gateway_server.proxy import Proxy
from traitlets import Any as AnyTrait
from traitlets import default, validate

from gateway.site import Site
from gateway.slurm.proxy.route_file import RouteFile


class RoutedBackend(DBBackendBase):  # type: ignore[misc] # upstream has no types
    """The part of the back end that keeps Traefik's routes."""

    site: Site
    proxy = AnyTrait(help="The proxy's routes, with the interface of upstream's proxy.")

    @default("proxy")
    def _default_proxy(self) -> RouteFile:
        return RouteFile.of(self.site.slurm)

    @validate("proxy")
    def _own_proxy(self, proposal: Any) -> Any:
        """Replace upstream's proxy, which upstream's ``setup`` assigns: its class can't be configured."""
        return self._default_proxy() if isinstance(proposal.value, Proxy) else proposal.value

    async def do_setup(self) -> None:
        """Write the routes of living clusters, before any other route is written. Upstream has loaded its database."""
        living = [item for item in self.db.name_to_cluster.values() if item.status < JobStatus.STOPPED]
        await self.proxy.restore([cluster for cluster in living if cluster.scheduler_address])
        await super().do_setup()

    async def _check_cluster_proxied(self, cluster: Cluster) -> None:
        """Do what upstream does; end a cluster whose scheduler says that it listens where no route may lead."""
        try:
            await super()._check_cluster_proxied(cluster)
        except ValueError as error:
            self.log.warning("Cluster %s of %s gets no routes: %s", cluster.name, cluster.username, error)
            await self.stop_cluster(cluster.name, failed=True)

    async def _cluster_to_running(self, cluster: Cluster) -> None:
        """Add the cluster's routes, then do what upstream does: a client that waits for the cluster finds them."""
        await self._check_cluster_proxied(cluster)
        if cluster.added_to_proxies:
            await super()._cluster_to_running(cluster)
