"""The configuration that upstream's API server and controller share. Pure."""

from traitlets.config import Config

from gateway.kubernetes import names
from gateway.site import KubernetesGateway


def common_config(class_name: str, gateway: KubernetesGateway) -> Config:
    """Return the configuration of a process whose class has upstream's ``KubeBackendAndControllerMixin``."""
    config = Config()
    config[class_name].gateway_instance = gateway.release
    config[class_name].common_labels = names.common_labels(gateway.release)
    config[class_name].namespace = gateway.clusters_namespace
    config[class_name].api_url = names.api_url(gateway)
    config.Measured.metrics_address = f":{names.METRICS_PORT}"
    return config
