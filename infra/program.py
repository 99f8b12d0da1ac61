"""The stack: all components of a site."""

import pulumi

from infra.admission import AdmissionPolicies
from infra.crds import CustomResourceDefinitions
from infra.kubernetes_gateway import KubernetesGateway, KubernetesGatewayArgs
from infra.namespace import ClustersNamespace
from infra.network import NetworkPolicies
from infra.slurm_gateway import SlurmGatewayFront
from infra.stack_settings import StackSettings
from infra.storage import Storage


def build(settings: StackSettings) -> None:
    """Declare all Kubernetes objects of a site, and export the addresses of both gateways."""
    site = settings.site
    clusters = ClustersNamespace("namespace", site.kubernetes)
    definitions = CustomResourceDefinitions("definitions", manage_traefik=site.kubernetes.manage_traefik_crds)
    if site.kubernetes.admission_policies:
        AdmissionPolicies("admission", site)
    Storage("storage", site, clusters.name)
    NetworkPolicies("network", site, clusters.name)
    KubernetesGateway(
        "kubernetes-gateway",
        KubernetesGatewayArgs(
            site=site,
            clusters_namespace=clusters.name,
            hub_token=settings.hub_token,
            authorities=settings.authorities,
            definitions=definitions.all,
        ),
    )
    SlurmGatewayFront("slurm-gateway", site)
    pulumi.export("kubernetes-address", site.kubernetes.address)
    pulumi.export("slurm-address", site.slurm.address)
