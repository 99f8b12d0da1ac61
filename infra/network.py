"""NetworkPolicies: deny all connections from and to the gateway's pods except those that a policy here allows.

The gateway's own pods and those of users' clusters are in two namespaces, and each has its policies. They select only
pods of the gateway (by ``app.kubernetes.io/instance``), so other pods of a namespace are not affected. The controller
adds one policy for each cluster (:mod:`gateway.kubernetes.controller.network_policies`), by which the cluster's pods
reach each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from gateway.kubernetes import names
from gateway.site import Destination, KubernetesGateway, Network, Pods, Site
from infra.kubernetes_gateway import CONTROLLER_COMPONENT
from infra.proxy import PROXY_COMPONENT, WEB_CONTAINER_PORT

Rule = Mapping[str, Any]
Peer = Mapping[str, Any]
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""Label with the namespace's name, which Kubernetes sets on each namespace."""
CLUSTERS_COMPONENTS = (names.SCHEDULER_COMPONENT, names.WORKER_COMPONENT)
"""Components whose pods are in the namespace of users' clusters."""
EVERYWHERE = "0.0.0.0/0"
NOT_PUBLIC = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8")
"""Private, shared, link-local and loopback addresses: of nodes, pods, Services and clouds' metadata."""


@dataclass(frozen=True)
class Flows:
    """The connections that a policy allows."""

    ingress: Sequence[Rule] = ()
    egress: Sequence[Rule] = ()


class NetworkPolicies(pulumi.ComponentResource):
    """In each namespace one policy that closes all pods, and one per component that allows its connections."""

    def __init__(
        self, name: str, site: Site, clusters_namespace: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("af-dask-gateway:infra:NetworkPolicies", name, {}, opts)
        gateway = site.kubernetes
        self._release = gateway.release
        places = dict.fromkeys(CLUSTERS_COMPONENTS, clusters_namespace)
        self.policies = [
            self._policy(component, places.get(component, gateway.namespace), self._component(component), flows)
            for component, flows in component_flows(site).items()
        ]
        if gateway.prometheus is not None:
            scraping = Flows(ingress=[_ingress([_pods_peer(gateway.prometheus)], [names.METRICS_PORT])])
            self.policies += [
                self._policy(f"{component}-metrics", gateway.namespace, self._component(component), scraping)
                for component in (names.API_COMPONENT, CONTROLLER_COMPONENT)
            ]
        # Last, so that an update of running pods closes no connection that another policy is about to allow.
        everything = names.common_labels(self._release)
        self.closed = [
            self._policy(closed, namespace, everything, Flows(), after=self.policies)
            for closed, namespace in (("closed", gateway.namespace), ("clusters-closed", clusters_namespace))
        ]
        self.register_outputs({})

    def _component(self, component: str) -> Mapping[str, str]:
        return names.component_labels(self._release, component)

    def _policy(
        self,
        name: str,
        namespace: pulumi.Input[str],
        selected: Mapping[str, str],
        flows: Flows,
        after: Sequence[pulumi.Resource] = (),
    ) -> NetworkPolicy:
        full_name = f"{self._release}-{name}"
        return NetworkPolicy(
            full_name,
            metadata={
                "name": full_name,
                "namespace": namespace,
                "labels": names.common_labels(self._release),
            },
            spec={
                "pod_selector": {"match_labels": dict(selected)},
                "policy_types": ["Ingress", "Egress"],
                "ingress": list(flows.ingress),
                "egress": list(flows.egress),
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(after)),
        )


def component_flows(site: Site) -> dict[str, Flows]:
    """Return component -> the connections of its pods, without those among the pods of one cluster."""
    network = site.kubernetes.network
    hub, directory = site.identity_services
    traefik, api, scheduler = (
        _component_peer(site.kubernetes, component)
        for component in (PROXY_COMPONENT, names.API_COMPONENT, names.SCHEDULER_COMPONENT)
    )
    dns, kubernetes = _egress(network.dns, ("UDP", "TCP")), _egress(network.kubernetes_api)
    users = [dns, *_data(network)]
    return {
        names.API_COMPONENT: Flows(
            [
                # On this port, the API server believes the client's address that Traefik gives.
                _ingress([traefik], [site.kubernetes.proxied_api_port]),
                _ingress([scheduler], [names.API_PORT]),
            ],
            [
                *(dns, kubernetes, _egress(hub), _egress(directory)),
                _egress_to([scheduler], [names.SCHEDULER_API_PORT]),
            ],
        ),
        CONTROLLER_COMPONENT: Flows(egress=[dns, kubernetes, _egress(hub), _egress(directory)]),
        PROXY_COMPONENT: Flows(
            # Ingress controller and load balancer send clients' connections to Traefik, so it accepts all addresses.
            [_ingress([], [WEB_CONTAINER_PORT, names.SCHEDULER_PORT])],
            [
                *(dns, kubernetes, _egress_to([api], [site.kubernetes.proxied_api_port])),
                _egress_to([scheduler], [names.SCHEDULER_PORT, names.DASHBOARD_PORT]),
            ],
        ),
        names.SCHEDULER_COMPONENT: Flows(
            [
                _ingress([traefik], [names.SCHEDULER_PORT, names.DASHBOARD_PORT]),
                _ingress([api], [names.SCHEDULER_API_PORT]),
            ],
            [*users, _egress_to([api], [names.API_PORT])],
        ),
        names.WORKER_COMPONENT: Flows(egress=users),
    }


def _data(network: Network) -> list[Rule]:
    """Return the rules by which users' code reads data: from the public Internet and the listed private addresses."""
    public = {"cidr": EVERYWHERE, "except_": [*NOT_PUBLIC, *network.closed_addresses]}
    listed = [{"ip_block": {"cidr": addresses}} for addresses in network.data_addresses]
    # A rule without peers would allow all addresses.
    return [_egress_to([{"ip_block": public}]), *([_egress_to(listed)] if listed else [])]


def _egress(destination: Destination, protocols: Sequence[str] = ("TCP",)) -> Rule:
    blocks = [{"ip_block": {"cidr": addresses}} for addresses in destination.addresses]
    peers = [*blocks, *([_pods_peer(destination.pods)] if destination.pods else [])]
    return _egress_to(peers, destination.ports, protocols)


def _component_peer(gateway: KubernetesGateway, component: str) -> Peer:
    namespace = gateway.clusters_namespace if component in CLUSTERS_COMPONENTS else gateway.namespace
    return _pods_peer(Pods(namespace=namespace, labels=names.component_labels(gateway.release, component)))


def _pods_peer(pods: Pods) -> Peer:
    return {
        "namespace_selector": {"match_labels": {NAMESPACE_LABEL: pods.namespace}},
        "pod_selector": {"match_labels": pods.labels},
    }


def _ingress(peers: Sequence[Peer], ports: Sequence[int]) -> Rule:
    """Return an ingress rule. No peers means all peers."""
    return {**({"from_": list(peers)} if peers else {}), "ports": _ports(ports)}


def _egress_to(peers: Sequence[Peer], ports: Sequence[int] = (), protocols: Sequence[str] = ("TCP",)) -> Rule:
    """Return an egress rule. No ports means all ports of all protocols."""
    return {"to": list(peers), **({"ports": _ports(ports, protocols)} if ports else {})}


def _ports(ports: Sequence[int], protocols: Sequence[str] = ("TCP",)) -> list[dict[str, Any]]:
    return [{"port": port, "protocol": protocol} for port in ports for protocol in protocols]
