"""The kinds of objects that the gateway and its proxy add to Kubernetes."""

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions.v1 import CustomResourceDefinition

ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""A part of a schema, in Kubernetes' own spelling: Pulumi passes a schema's properties on as they are."""
TRAEFIK_KINDS = (
    "IngressRoute",
    "IngressRouteTCP",
    "IngressRouteUDP",
    "Middleware",
    "MiddlewareTCP",
    "ServersTransport",
    "ServersTransportTCP",
    "TLSOption",
    "TLSStore",
    "TraefikService",
)
"""All that Traefik's provider lists: with one missing it routes nothing."""


class CustomResourceDefinitions(pulumi.ComponentResource):
    """DaskCluster, and Traefik's kinds where this stack owns them.

    Objects are not checked by the API server, as upstream has it: the controller's version decides what they hold.
    """

    def __init__(self, name: str, *, manage_traefik: bool, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("af-dask-gateway:infra:CustomResourceDefinitions", name, {}, opts)
        self.dask_cluster = self._define(
            "gateway.dask.org",
            "DaskCluster",
            schema={"type": "object", "properties": {"spec": ANYTHING, "status": ANYTHING}},
            subresources={"status": {}},
            additional_printer_columns=[
                {"name": "User", "type": "string", "json_path": ".spec.username"},
                {"name": "Phase", "type": "string", "json_path": ".status.phase"},
                {"name": "Workers", "type": "integer", "json_path": ".spec.replicas"},
                {"name": "Age", "type": "date", "json_path": ".metadata.creationTimestamp"},
            ],
        )
        self.traefik = [
            self._define("traefik.io", kind, schema={"type": "object", "properties": {"spec": ANYTHING}})
            for kind in (TRAEFIK_KINDS if manage_traefik else ())
        ]
        self.register_outputs({})

    @property
    def all(self) -> Sequence[pulumi.Resource]:
        """Everything that must exist before an object of these kinds."""
        return [self.dask_cluster, *self.traefik]

    def _define(self, group: str, kind: str, *, schema: dict[str, Any], **version: Any) -> CustomResourceDefinition:
        singular, plural = kind.lower(), f"{kind.lower()}s"
        name = f"{plural}.{group}"
        return CustomResourceDefinition(
            name,
            metadata={"name": name},
            spec={
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": kind, "list_kind": f"{kind}List", "plural": plural, "singular": singular},
                "versions": [
                    {
                        "name": "v1alpha1",
                        "served": True,
                        "storage": True,
                        "schema": {"open_apiv3_schema": schema},
                        **version,
                    }
                ],
            },
            # Deleting a definition deletes all objects of its kind, users' running clusters among them.
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )
