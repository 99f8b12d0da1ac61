"""Custom resource definitions (CRDs) of the gateway and of its proxy."""

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions.v1 import CustomResourceDefinition

ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""Schema of an object with any fields, in Kubernetes' spelling: Pulumi does not translate a schema's keys."""
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
"""All kinds that Traefik's Kubernetes provider lists. Traefik serves no route while one of them is missing."""


class CustomResourceDefinitions(pulumi.ComponentResource):
    """The CRD of DaskCluster and, where this stack manages them, those of Traefik.

    The schemas accept any fields, as upstream's do: the controller's version decides which fields an object has.
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
        """Return the definitions, which must exist before any object of their kinds."""
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
            # Kubernetes deletes all objects of a kind with its definition, and so users' running clusters.
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )
