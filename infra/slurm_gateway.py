"""The front of the SLURM gateway: a Service and an Ingress on Kubernetes that route to the submission host."""

import pulumi
from pulumi_kubernetes.discovery.v1 import EndpointSlice

from gateway.kubernetes import names
from gateway.site import Site
from infra.exposure import ExposedService, ServiceArgs, ingress

PORT_NAME = "gateway"
"""Name of the one port of API, dashboards and schedulers. Traefik on the submission host routes TLS to schedulers by
SNI, and HTTP and HTTPS to the API and to dashboards."""


class SlurmGatewayFront(pulumi.ComponentResource):
    """A Service without a selector, the EndpointSlices with the submission host's address, and the Ingress."""

    def __init__(self, name: str, site: Site, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("af-dask-gateway:infra:SlurmGatewayFront", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        gateway, namespace = site.slurm, site.kubernetes.namespace
        labels = names.common_labels(gateway.release)
        service_name = names.api_name(gateway.release)
        self.service = ExposedService(
            "slurm-service",
            ServiceArgs(
                name=service_name,
                namespace=namespace,
                labels=labels,
                exposure=gateway.front_exposure,
                ports=[{"name": PORT_NAME, "port": gateway.proxy_port, "target_port": gateway.proxy_port}],
                public_ports=[PORT_NAME],
                annotations={} if gateway.tls is None else gateway.tls.service_annotations,
            ),
            opts=child,
        )
        self.endpoints = [
            EndpointSlice(
                target,
                metadata={
                    "name": target,
                    "namespace": namespace,
                    "labels": {
                        **labels,
                        "kubernetes.io/service-name": target,
                        "endpointslice.kubernetes.io/managed-by": pulumi.get_project(),
                    },
                },
                address_type="IPv4",
                endpoints=[{"addresses": [gateway.submission_address], "conditions": {"ready": True}}],
                ports=[{"name": PORT_NAME, "port": gateway.proxy_port, "protocol": "TCP"}],
                opts=child,
            )
            for target in self.service.names
        ]
        self.ingress = ingress(
            gateway.release,
            namespace=namespace,
            labels=labels,
            ingress_class=site.kubernetes.ingress_class,
            host=gateway.host,
            tls=gateway.tls,
            service=service_name,
            port=gateway.proxy_port,
            opts=child,
        )
        self.register_outputs({})
