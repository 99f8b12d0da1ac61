"""The EndpointSlice that routes a cluster's Service to its scheduler pod. Pure."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from gateway.kubernetes import names

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""Kubernetes and proxies find the EndpointSlices of a Service by this label."""
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
"""Kubernetes' own controllers leave an EndpointSlice alone that another manager has labelled."""
PORTS = {"scheduler": names.SCHEDULER_PORT, "dashboard": names.DASHBOARD_PORT, "api": names.SCHEDULER_API_PORT}
"""The ports of upstream's Service, by their names there."""


def endpoint_slice(
    service: str, labels: Mapping[str, str], address: str, scheduler: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the EndpointSlice from a Service to the IP address of a scheduler pod, which owns it."""
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
    """Return an owner reference to a pod: Kubernetes deletes the owned object with the pod."""
    return {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
