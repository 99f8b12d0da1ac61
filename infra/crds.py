"""Custom resource definitions (CRDs) of the gateway and of its proxy."""

from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions.v1 import CustomResourceDefinition

from gateway.identity.accounts import MOST_POSIX_ID
from gateway.kubernetes import cluster_spec
from gateway.request.environments import NAME_MAX, PATH_MAX

DASK_CLUSTERS_GROUP = "gateway.dask.org"
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
FIXED = ("username", "account", "options")
"""Keys of a DaskCluster's spec that no update changes, adds or removes."""


def dask_cluster_spec() -> dict[str, Any]:
    """Return the schema of a DaskCluster's spec, with the bounds of :mod:`gateway.kubernetes.cluster_spec`."""
    posix_id = {"type": "integer", "format": "int64", "minimum": 1, "maximum": MOST_POSIX_ID}
    moment = _text(cluster_spec.MOST_TIMESTAMP_CHARACTERS)
    options = {
        "pixi_project": _text(PATH_MAX),
        "pixi_env": _text(NAME_MAX),
        "conda_env": _text(PATH_MAX),
        "worker_cores": {"type": "number", "minimum": 0, "maximum": cluster_spec.MOST_CORES},
        "worker_memory": {"type": "number", "minimum": 0, "maximum": cluster_spec.MOST_MEMORY_GIB},
    }
    return {
        **ANYTHING,
        "required": ["username"],
        "properties": {
            "username": _text(cluster_spec.MOST_USERNAME_CHARACTERS),
            "account": {
                "type": "object",
                "required": ["uid", "gid"],
                "properties": {"uid": posix_id, "gid": posix_id},
            },
            "options": {**ANYTHING, "properties": options},
            "active": {"type": "boolean"},
            "replicas": {"type": "integer", "minimum": 0, "maximum": cluster_spec.MOST_REPLICAS},
            "lastClient": moment,
            "started": moment,
        },
        "x-kubernetes-validations": [
            {"rule": _is_unchanged(key), "message": f"spec.{key} is fixed at the creation of a DaskCluster"}
            for key in FIXED
        ],
    }


def _text(most_characters: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": most_characters}


def _is_unchanged(key: str) -> str:
    """Return the CEL expression that an optional field has its old value, or is still absent."""
    return f"has(self.{key}) == has(oldSelf.{key}) && (!has(self.{key}) || self.{key} == oldSelf.{key})"


class CustomResourceDefinitions(pulumi.ComponentResource):
    """The CRD of DaskCluster and, where this stack manages them, those of Traefik.

    The schemas of Traefik accept any fields, as upstream's do. That of DaskCluster bounds the fields of this gateway,
    and fixes for an object's life what the controller has checked. It accepts further fields, because the kind belongs
    to all dask-gateways of a Kubernetes cluster.
    """

    def __init__(self, name: str, *, manage_traefik: bool, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("af-dask-gateway:infra:CustomResourceDefinitions", name, {}, opts)
        self.dask_cluster = self._define(
            DASK_CLUSTERS_GROUP,
            "DaskCluster",
            schema={
                "type": "object",
                "required": ["spec"],
                "properties": {"spec": dask_cluster_spec(), "status": ANYTHING},
            },
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
