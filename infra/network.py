"""NetworkPolicies: deny all connections to the gateway's pods except those that a policy here allows.

The policies select only pods of the gateway (by ``app.kubernetes.io/instance``), so other pods of the namespace are not
affected. Connections from the pods are not restricted: users' code reads data from all over the world.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from gateway.kubernetes import names
from gateway.site import Prometheus, Site
from infra.kubernetes_gateway import CONTROLLER_COMPONENT
from infra.proxy import PROXY_COMPONENT, WEB_CONTAINER_PORT

Peer = Mapping[str, Any]
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""Label with the namespace's name, which Kubernetes sets on each namespace."""


class NetworkPolicies(pulumi.ComponentResource):
    """One policy that denies all ingress to the gateway's pods, and one per component that allows its connections."""

    def __init__(
        self, name: str, site: Site, namespace: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("af-dask-gateway:infra:NetworkPolicies", name, {}, opts)
        release, prometheus = site.kubernetes.release, site.kubernetes.prometheus
        self._release, self._namespace = release, namespace
        traefik, api = self._pods(PROXY_COMPONENT), self._pods(names.API_COMPONENT)
        scheduler, worker = self._pods(names.SCHEDULER_COMPONENT), self._pods(names.WORKER_COMPONENT)
        self.policies = [
            self._policy("closed", names.common_labels(release), []),
            self._policy(
                names.API_COMPONENT,
                self._labels(names.API_COMPONENT),
                [
                    # On this port, the API server believes the client's address that Traefik gives.
                    _ingress([traefik], [site.kubernetes.proxied_api_port]),
                    _ingress([scheduler], [names.API_PORT]),
                ],
            ),
            # Ingress controller and load balancer send clients' connections to Traefik, so it accepts all addresses.
            self._policy(
                PROXY_COMPONENT,
                self._labels(PROXY_COMPONENT),
                [_ingress([], [WEB_CONTAINER_PORT, names.SCHEDULER_PORT])],
            ),
            self._policy(
                names.SCHEDULER_COMPONENT,
                self._labels(names.SCHEDULER_COMPONENT),
                [
                    _ingress([traefik], [names.SCHEDULER_PORT, names.DASHBOARD_PORT]),
                    _ingress([api], [names.SCHEDULER_API_PORT]),
                    _ingress([worker], [names.SCHEDULER_PORT]),
                ],
            ),
            # Workers and their nannies choose their own ports, so this rule allows all ports. TLS keeps clusters apart.
            self._policy(
                names.WORKER_COMPONENT, self._labels(names.WORKER_COMPONENT), [_ingress([scheduler, worker], [])]
            ),
            *(self._metrics(prometheus) if prometheus else ()),
        ]
        self.register_outputs({})

    def _metrics(self, prometheus: Prometheus) -> Iterator[NetworkPolicy]:
        peer = {
            "namespace_selector": {"match_labels": {NAMESPACE_LABEL: prometheus.namespace}},
            "pod_selector": {"match_labels": prometheus.labels},
        }
        for component in (names.API_COMPONENT, CONTROLLER_COMPONENT):
            yield self._policy(
                f"{component}-metrics", self._labels(component), [_ingress([peer], [names.METRICS_PORT])]
            )

    def _labels(self, component: str) -> dict[str, str]:
        return names.component_labels(self._release, component)

    def _pods(self, component: str) -> Peer:
        return {"pod_selector": {"match_labels": self._labels(component)}}

    def _policy(self, name: str, selected: Mapping[str, str], rules: Sequence[Mapping[str, Any]]) -> NetworkPolicy:
        full_name = f"{self._release}-{name}"
        return NetworkPolicy(
            full_name,
            metadata={
                "name": full_name,
                "namespace": self._namespace,
                "labels": names.common_labels(self._release),
            },
            spec={
                "pod_selector": {"match_labels": dict(selected)},
                "policy_types": ["Ingress"],
                "ingress": list(rules),
            },
            opts=pulumi.ResourceOptions(parent=self),
        )


def _ingress(peers: Sequence[Peer], ports: Sequence[int]) -> dict[str, Any]:
    """Return an ingress rule. No peers means all peers, no ports means all ports."""
    return {
        **({"from_": list(peers)} if peers else {}),
        **({"ports": [{"port": port, "protocol": "TCP"} for port in ports]} if ports else {}),
    }
