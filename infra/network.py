"""Who may open connections to the gateway's pods: nobody, except where a policy here says so.

The policies select only pods of the gateway (by ``app.kubernetes.io/instance``), so nothing else in the namespace
changes. What pods open themselves is not restricted: users' code reads data from all over the world.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from gateway.kubernetes import names
from gateway.site import Prometheus
from infra.proxy import WEB_CONTAINER_PORT

Peer = Mapping[str, Any]
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""Kubernetes puts it on each namespace."""


class NetworkPolicies(pulumi.ComponentResource):
    """One policy that closes all of the gateway's pods, and one per component with the flows that it needs."""

    def __init__(
        self,
        name: str,
        release: str,
        namespace: pulumi.Input[str],
        prometheus: Prometheus | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("af-dask-gateway:infra:NetworkPolicies", name, {}, opts)
        self._release, self._namespace = release, namespace
        traefik, api = self._pods("traefik"), self._pods(names.API_COMPONENT)
        scheduler, worker = self._pods(names.SCHEDULER_COMPONENT), self._pods(names.WORKER_COMPONENT)
        self.policies = [
            self._policy("closed", names.common_labels(release), []),
            self._policy("api", self._labels(names.API_COMPONENT), [_ingress([traefik, scheduler], [names.API_PORT])]),
            # The gateway's public face: it is what Ingress and load balancer lead to, so it takes connections from all.
            self._policy(
                "traefik", self._labels("traefik"), [_ingress([], [WEB_CONTAINER_PORT, names.SCHEDULER_PORT])]
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
            # Workers and their nannies listen at ports of their own choice; TLS keeps clusters apart.
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
        for component in ("api", "controller"):
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
    """A rule; no peers means all, no ports means all."""
    return {
        **({"from_": list(peers)} if peers else {}),
        **({"ports": [{"port": port, "protocol": "TCP"} for port in ports]} if ports else {}),
    }
