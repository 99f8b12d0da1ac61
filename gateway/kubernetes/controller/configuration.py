"""The configuration of the controller. Pure."""

from traitlets.config import Config

from gateway.kubernetes import names
from gateway.kubernetes.configuration import common_config
from gateway.site import Site


def controller_config(site: Site) -> Config:
    """Return the configuration of upstream's controller and of our class."""
    gateway = site.kubernetes
    config = common_config("KubeController", gateway)
    config.KubeController.address = f":{names.API_PORT}"
    config.KubeController.minimum_uid = site.identity.minimum_uid
    config.KubeController.minimum_gid = site.identity.minimum_gid
    config.FacilityKubeController.site = site
    config.KubeController.proxy_web_entrypoint = names.WEB_ENTRYPOINT
    config.KubeController.proxy_tcp_entrypoint = names.SCHEDULER_ENTRYPOINT
    config.KubeController.proxy_web_middlewares = [
        {"name": name, "namespace": gateway.clusters_namespace} for name in names.dashboard_middlewares(gateway.release)
    ]
    return config
