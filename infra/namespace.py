"""The namespace of users' clusters with its Pod Security level, quota and default limits."""

import pulumi
from pulumi_kubernetes.core.v1 import LimitRange, Namespace, ResourceQuota

from gateway.site import KubernetesGateway
from infra.quantities import cores, gib

POD_SECURITY = "restricted"


class ClustersNamespace(pulumi.ComponentResource):
    """The Namespace, which enforces Pod Security "restricted", with its ResourceQuota and its LimitRange."""

    def __init__(self, name: str, gateway: KubernetesGateway, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("af-dask-gateway:infra:Namespace", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.namespace = Namespace(
            gateway.clusters_namespace,
            metadata={
                "name": gateway.clusters_namespace,
                "labels": {f"pod-security.kubernetes.io/{mode}": POD_SECURITY for mode in ("enforce", "audit", "warn")},
            },
            # Kubernetes deletes all clusters, which users may be using, with their namespace.
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )
        self.name: pulumi.Output[str] = self.namespace.metadata.apply(lambda metadata: str(metadata.name))
        """Name of the namespace. Objects that take it from this output wait until the namespace exists."""
        self.quota = ResourceQuota(
            f"{name}-quota",
            metadata={"name": gateway.release, "namespace": self.name},
            spec={
                "hard": {
                    "requests.cpu": cores(gateway.quota.cores),
                    "requests.memory": gib(gateway.quota.memory_gib),
                    "pods": str(gateway.quota.pods),
                    "count/daskclusters.gateway.dask.org": str(gateway.quota.clusters),
                    "secrets": str(gateway.quota.secrets),
                    "services": str(gateway.quota.services),
                }
            },
            opts=child,
        )
        limits = gateway.limit_range
        default = {"cpu": cores(limits.default_cores), "memory": gib(limits.default_memory_gib)}
        self.limit_range = LimitRange(
            f"{name}-limits",
            metadata={"name": gateway.release, "namespace": self.name},
            spec={
                "limits": [
                    {
                        "type": "Container",
                        "default": default,
                        "default_request": default,
                        "max": {"cpu": cores(limits.maximum_cores), "memory": gib(limits.maximum_memory_gib)},
                    }
                ]
            },
            opts=child,
        )
        self.register_outputs({"name": self.name})
