"""Pods as upstream's controller, configured by us, sends them to Kubernetes."""

from dask_gateway_server.backends.kubernetes.backend import KubeClusterConfig
from dask_gateway_server.utils import FrozenAttrDict

from gateway.kubernetes.controller.configuration import controller_config
from gateway.kubernetes.controller.controller import FacilityKubeController
from gateway.kubernetes.pods import cluster_config


def pod_of(site, request, *, is_worker):
    """Return a pod of a request's cluster."""
    controller = FacilityKubeController(config=controller_config(site))
    config = KubeClusterConfig(**cluster_config(site, request)).to_dict()
    return controller.make_pod(site.kubernetes.clusters_namespace, "c1", FrozenAttrDict(config), is_worker=is_worker)


def container_of(site, request, *, is_worker):
    (container,) = pod_of(site, request, is_worker=is_worker)["spec"]["containers"]
    return container
