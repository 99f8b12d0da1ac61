"""Services and Ingresses that clients outside of the Kubernetes cluster reach."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.core.v1 import Service
from pulumi_kubernetes.networking.v1 import Ingress

from gateway.site import Exposure, Tls

ADDRESS_POOL_ANNOTATION = "metallb.universe.tf/address-pool"
CLUSTER_ISSUER_ANNOTATION = "cert-manager.io/cluster-issuer"
DO_NOT_WAIT = {"pulumi.com/skipAwait": "true"}
"""Annotation: Pulumi does not wait until the object is ready. Pulumi waits for Deployments, so it need not wait 10 s
longer for their Services."""


@dataclass(frozen=True)
class ServiceArgs:
    """Arguments of :class:`ExposedService`."""

    name: str
    namespace: pulumi.Input[str]
    labels: Mapping[str, str]
    exposure: Exposure
    ports: Sequence[Mapping[str, Any]]
    public_ports: Sequence[str]
    """Names of the ports that the Service takes on external IPs. These are addresses of nodes, where other programs
    use other ports."""
    selector: Mapping[str, str] | None = None
    """Labels of the pods. None: the caller declares an EndpointSlice for the Service."""


class ExposedService(pulumi.ComponentResource):
    """A Service with an external address, by the site's kind of exposure.

    ``LoadBalancer``: one Service with an address of the load balancer. ``ExternalIPs``: a Service inside the Kubernetes
    cluster, and a second one that takes the public ports on the external IPs.
    """

    def __init__(self, name: str, args: ServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("af-dask-gateway:infra:ExposedService", name, {}, opts)
        exposure = args.exposure
        balanced = exposure.kind == "LoadBalancer"
        pool = {ADDRESS_POOL_ANNOTATION: exposure.address_pool} if exposure.address_pool else {}
        self.service = self._service(
            args,
            args.name,
            # Pulumi waits until the load balancer has assigned an address.
            annotations=pool if balanced else DO_NOT_WAIT,
            ports=args.ports,
            type="LoadBalancer" if balanced else "ClusterIP",
        )
        self.names = [args.name]
        """Names of the Services."""
        self.external: Service | None = None
        if exposure.kind == "ExternalIPs":
            self.names.append(f"{args.name}-external")
            self.external = self._service(
                args,
                self.names[-1],
                annotations=DO_NOT_WAIT,
                ports=[port for port in args.ports if port["name"] in args.public_ports],
                type="ClusterIP",
                external_ips=list(exposure.external_ips),
            )
        self.register_outputs({})

    def _service(
        self,
        args: ServiceArgs,
        name: str,
        *,
        annotations: Mapping[str, str],
        ports: Sequence[Mapping[str, Any]],
        **spec: Any,
    ) -> Service:
        selector = {} if args.selector is None else {"selector": args.selector}
        return Service(
            name,
            metadata={"name": name, "namespace": args.namespace, "labels": args.labels, "annotations": annotations},
            spec={"ports": ports, **selector, **spec},
            opts=pulumi.ResourceOptions(parent=self),
        )


def ingress(
    name: str,
    *,
    namespace: pulumi.Input[str],
    labels: Mapping[str, str],
    ingress_class: str,
    host: str,
    tls: Tls | None,
    service: str,
    port: int,
    opts: pulumi.ResourceOptions,
) -> Ingress:
    """Declare an Ingress that routes a host to a Service's port, by HTTP and with ``tls`` by HTTPS too.

    The gateway itself refuses plain HTTP (:mod:`gateway.service.plain_http`).
    """
    annotations, spec = _secured(name, host, tls)
    backend = {"service": {"name": service, "port": {"number": port}}}
    return Ingress(
        name,
        metadata={
            "name": name,
            "namespace": namespace,
            "labels": labels,
            # Pulumi would wait for an address in the Ingress' status, which some ingress controllers never report.
            "annotations": {**DO_NOT_WAIT, **annotations},
        },
        spec={
            **spec,
            "ingress_class_name": ingress_class,
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "path_type": "Prefix", "backend": backend}]}}],
        },
        opts=opts,
    )


def _secured(name: str, host: str, tls: Tls | None) -> tuple[Mapping[str, str], Mapping[str, Any]]:
    """Return the annotations of an Ingress with a certificate, and its part of the specification."""
    if tls is None:
        return {}, {}
    # cert-manager writes the certificate into the Secret that the Ingress names.
    issuer = {} if tls.cluster_issuer is None else {CLUSTER_ISSUER_ANNOTATION: tls.cluster_issuer}
    secret_name = tls.secret_name or f"ingress-certificate-{name}"
    return {**issuer, **tls.ingress_annotations}, {"tls": [{"hosts": [host], "secret_name": secret_name}]}
