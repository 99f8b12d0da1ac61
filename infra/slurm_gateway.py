"""The front of the SLURM gateway: Services and an Ingress on Kubernetes that route to the submission host."""

import pulumi
from pulumi_kubernetes.core.v1 import Service
from pulumi_kubernetes.discovery.v1 import EndpointSlice

from gateway.kubernetes import names
from gateway.site import Site, SlurmGateway
from infra.exposure import DO_NOT_WAIT, ExposedService, ServiceArgs, ingress

PORT_NAME = "gateway"
"""Name of each port of API, dashboards and schedulers. Traefik on the submission host routes TLS to schedulers by
SNI, and HTTP and HTTPS to the API and to dashboards."""


class SlurmGatewayFront(pulumi.ComponentResource):
    """Services without a selector, the EndpointSlices with the submission host's address, and the Ingress."""

    def __init__(self, name: str, site: Site, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("af-dask-gateway:infra:SlurmGatewayFront", name, {}, opts)
        self._child = child = pulumi.ResourceOptions(parent=self)
        gateway, namespace = site.slurm, site.kubernetes.namespace
        self._namespace, self._labels = namespace, names.common_labels(gateway.release)
        labels = self._labels
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
            ),
            opts=child,
        )
        self.endpoints = [self._endpoints(gateway, target, gateway.proxy_port) for target in self.service.names]
        own_port = gateway.ingress_port
        self.ingress_service = None if own_port is None else self._ingress_service(gateway, own_port)
        self.ingress = ingress(
            gateway.release,
            namespace=namespace,
            labels=labels,
            ingress_class=site.kubernetes.ingress_class,
            host=gateway.host,
            tls=gateway.tls,
            service=service_name if own_port is None else names.ingress_service_name(gateway.release),
            port=gateway.proxy_port if own_port is None else own_port,
            opts=child,
        )
        self.register_outputs({})

    def _ingress_service(self, gateway: SlurmGateway, port: int) -> Service:
        """Return the Service of the ingress controller alone, whose word the proxy believes at this port.

        Clients outside of the Kubernetes cluster do not reach it.
        """
        name = names.ingress_service_name(gateway.release)
        self.endpoints.append(self._endpoints(gateway, name, port))
        annotations = {} if gateway.tls is None else gateway.tls.service_annotations
        return Service(
            name,
            metadata={
                "name": name,
                "namespace": self._namespace,
                "labels": self._labels,
                "annotations": {**DO_NOT_WAIT, **annotations},
            },
            spec={"ports": [{"name": PORT_NAME, "port": port, "target_port": port}], "type": "ClusterIP"},
            opts=self._child,
        )

    def _endpoints(self, gateway: SlurmGateway, service: str, port: int) -> EndpointSlice:
        """Return the address of the submission host behind a port of a Service, which has no selector."""
        return EndpointSlice(
            service,
            metadata={
                "name": service,
                "namespace": self._namespace,
                "labels": {
                    **self._labels,
                    "kubernetes.io/service-name": service,
                    "endpointslice.kubernetes.io/managed-by": pulumi.get_project(),
                },
            },
            address_type="IPv4",
            endpoints=[{"addresses": [gateway.submission_address], "conditions": {"ready": True}}],
            ports=[{"name": PORT_NAME, "port": port, "protocol": "TCP"}],
            opts=self._child,
        )
