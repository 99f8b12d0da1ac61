"""Where a cluster's Service leads: to its scheduler's pod, by an EndpointSlice of ours. Pure."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from gateway.kubernetes import names

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""By it Kubernetes and proxies find the EndpointSlices of a Service."""
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
"""Kubernetes' own controllers leave alone what others manage."""
PORTS = {"scheduler": names.SCHEDULER_PORT, "dashboard": names.DASHBOARD_PORT, "api": names.SCHEDULER_API_PORT}
"""Those of upstream's Service, by its names."""


def endpoint_slice(
    service: str, labels: Mapping[str, str], address: str, scheduler: Mapping[str, Any]
) -> dict[str, Any]:
    """The EndpointSlice that leads a Service to the IP address of a scheduler's pod, with which it goes."""
    managed_by = {SERVICE_NAME_LABEL: service, MANAGED_BY_LABEL: labels["app.kubernetes.io/name"]}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": service, "labels": {**labels, **managed_by}, "ownerReferences": [owner(scheduler)]},
        "addressType": f"IPv{ipaddress.ip_address(address).version}",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": name, "port": port, "protocol": "TCP"} for name, port in PORTS.items()],
    }


def owner(pod: Mapping[str, Any]) -> dict[str, str]:
    """The owner reference of what goes with a pod."""
    return {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
