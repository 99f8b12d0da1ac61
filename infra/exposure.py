"""Ways from outside of the Kubernetes cluster to a Service of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.core.v1 import Service
from pulumi_kubernetes.networking.v1 import Ingress

from gateway.site import Exposure

ADDRESS_POOL_ANNOTATION = "metallb.universe.tf/address-pool"
DO_NOT_WAIT = {"pulumi.com/skipAwait": "true"}
"""Annotation: Pulumi waits for Deployments, so it need not wait ten seconds more for the Services that lead to them."""


@dataclass(frozen=True)
class ServiceArgs:
    """A Service that is reachable from outside."""

    name: str
    namespace: pulumi.Input[str]
    labels: Mapping[str, str]
    exposure: Exposure
    ports: Sequence[Mapping[str, Any]]
    public_ports: Sequence[str]
    """Names of the ports for which an address of a node is used: its others belong to others."""
    selector: Mapping[str, str] | None = None
    """None: an EndpointSlice of ours says where it leads."""


class ExposedService(pulumi.ComponentResource):
    """The Service, with a load balancer's address; or beside it a second one that takes public ports of nodes."""

    def __init__(self, name: str, args: ServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("af-dask-gateway:infra:ExposedService", name, {}, opts)
        exposure = args.exposure
        balanced = exposure.kind == "LoadBalancer"
        pool = {ADDRESS_POOL_ANNOTATION: exposure.address_pool} if exposure.address_pool else {}
        self.service = self._service(
            args,
            args.name,
            # A load balancer's address is worth waiting for.
            annotations=pool if balanced else DO_NOT_WAIT,
            ports=args.ports,
            type="LoadBalancer" if balanced else "ClusterIP",
        )
        self.names = [args.name]
        """Of the Services."""
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
            metadata={
                "name": name,
                "namespace": args.namespace,
                "labels": args.labels,
                "annotations": annotations,
            },
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
    service: str,
    port: int,
    opts: pulumi.ResourceOptions,
) -> Ingress:
    """An Ingress that leads all of a host to a Service's port; plain HTTP, as the user guide's addresses have it."""
    backend = {"service": {"name": service, "port": {"number": port}}}
    return Ingress(
        name,
        metadata={
            "name": name,
            "namespace": namespace,
            "labels": labels,
            # Whether the ingress controller reports an address is its own business; Pulumi would wait for one.
            "annotations": DO_NOT_WAIT,
        },
        spec={
            "ingress_class_name": ingress_class,
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "path_type": "Prefix", "backend": backend}]}}],
        },
        opts=opts,
    )
