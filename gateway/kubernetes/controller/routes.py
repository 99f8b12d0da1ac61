"""The way to a scheduler: its Service, EndpointSlice and Traefik routes."""

from collections.abc import Mapping
from typing import Any

from gateway.kubernetes import connection
from gateway.kubernetes.connection import CONFLICT, NOT_FOUND
from gateway.kubernetes.controller import endpoint_slices
from gateway.kubernetes.controller.lifecycle import address_of
from gateway.kubernetes.controller.manifests import ManifestController
from gateway.kubernetes.names import SCHEDULER_COMPONENT

ENDPOINT_SLICE = "endpointSlice"
"""Key in a DaskCluster's status: the name of its EndpointSlice."""


class Routes:
    """Create the routes of a scheduler through upstream's controller, and close them."""

    def __init__(self, controller: ManifestController) -> None:
        self._controller = controller

    async def ensure(self, cluster: Mapping[str, Any], scheduler: Mapping[str, Any], status: dict[str, Any]) -> None:
        """Create the Service and the routes of a scheduler that the status does not name yet, and note their names."""
        makers = {
            # First, because proxies complain about routes to a Service that does not exist.
            "service": self._controller.create_service_if_not_exists,
            "ingressroute": self._controller.create_ingressroute_if_not_exists,
            "ingressroutetcp": self._controller.create_ingressroutetcp_if_not_exists,
        }
        for kind, make in makers.items():
            if kind not in status:
                status[kind] = await make(cluster, scheduler)
        address = address_of(scheduler)
        if address is not None and ENDPOINT_SLICE not in status:
            status[ENDPOINT_SLICE] = await self._create_endpoint_slice(cluster, scheduler, address)

    async def _create_endpoint_slice(
        self, cluster: Mapping[str, Any], scheduler: Mapping[str, Any], address: str
    ) -> str:
        name = cluster["metadata"]["name"]
        labels = self._controller.get_labels(name, SCHEDULER_COMPONENT)
        made = endpoint_slices.endpoint_slice(self._controller.make_service_name(name), labels, address, scheduler)
        with connection.accepting(CONFLICT):
            await self._controller.discovery_client.create_namespaced_endpoint_slice(self._controller.namespace, made)
        return str(made["metadata"]["name"])

    async def close(self, name: str) -> None:
        """Delete the EndpointSlice of the cluster of this name: no new connection goes to its scheduler pod."""
        service = self._controller.make_service_name(name)
        with connection.accepting(NOT_FOUND):
            await self._controller.discovery_client.delete_namespaced_endpoint_slice(
                service, self._controller.namespace
            )
