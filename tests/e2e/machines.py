"""The testbed's site, and commands of administrators on its machines: kubectl, rollouts, SLURM's containers.

All other modules of the suite use it.
"""

from gateway import site
from gateway.kubernetes import names
from testbed import cluster, slurm
from testbed.paths import SITE

SETTINGS = site.load(SITE)
RELEASE = SETTINGS.kubernetes.release
API = f"deployment/{names.api_name(RELEASE)}"
CONTROLLER = f"deployment/{names.controller_name(RELEASE)}"
PROXY = f"deployment/{names.proxy_name(RELEASE)}"
ROLLOUT_SECONDS = 120


def kubectl(*arguments: str) -> str:
    """Run kubectl in the namespace of the gateway's own objects and return its output."""
    return cluster.kubectl("--namespace", SETTINGS.kubernetes.namespace, *arguments)


def kubectl_clusters(*arguments: str) -> str:
    """Run kubectl in the namespace of users' clusters and return its output."""
    return cluster.kubectl("--namespace", SETTINGS.kubernetes.clusters_namespace, *arguments)


def restart_deployments(*deployments: str) -> None:
    """Restart deployments (``deployment/NAME``) of the Kubernetes gateway as an update does."""
    kubectl("rollout", "restart", *deployments)
    await_rollout(*deployments)


def await_rollout(*deployments: str) -> None:
    """Wait until all replicas of deployments are available."""
    for deployment in deployments:
        kubectl("rollout", "status", deployment, "--timeout", f"{ROLLOUT_SECONDS}s")


def object_name(cluster_name: str) -> str:
    """Return the name of a cluster's DaskCluster: on Kubernetes the cluster's own name is ``NAMESPACE.NAME``."""
    return cluster_name.rpartition(".")[2]


def of_cluster(cluster_name: str, component: str | None = None) -> str:
    """Return the selector of a cluster's objects, or of its pods of one component."""
    selector = f"gateway.dask.org/cluster={object_name(cluster_name)}"
    return selector if component is None else f"{selector},{names.COMPONENT_LABEL}={component}"


def slurm_container(machine: str) -> str:
    """Return the container of a machine of the SLURM cluster."""
    return f"af-{machine}"


SLURMCTLD = slurm_container(slurm.CONTROLLER)
