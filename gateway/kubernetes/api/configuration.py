"""The configuration of the API server. Pure."""

from traitlets.config import Config

from gateway.kubernetes import names
from gateway.kubernetes.configuration import common_config
from gateway.request.options import cluster_options
from gateway.site import Backend, Site


def api_config(site: Site) -> Config:
    """Return the configuration of upstream's API server and of our classes in it."""
    config = common_config("KubeBackend", site.kubernetes)
    config.DaskGateway.address = f":{names.API_PORT}"
    config.GatewayApplication.further_addresses = [f":{site.kubernetes.proxied_api_port}"]
    config.DaskGateway.authenticator_class = "gateway.identity.authenticator.HubAuthenticator"
    config.DaskGateway.backend_class = "gateway.kubernetes.api.backend.FacilityKubeBackend"
    config.HubAuthenticator.backend = Backend.KUBERNETES.value
    config.KubeBackend.cluster_options = cluster_options(site, Backend.KUBERNETES)
    return config
