"""The NetworkPolicy of one cluster: its scheduler and workers reach each other, and no pod of another cluster.

All other connections of these pods are the same for every cluster: Pulumi declares them (:mod:`infra.network`). There a
policy closes every pod of the gateway, so that a pod is closed even while the policy of its cluster does not exist.
"""

from collections.abc import Mapping
from typing import Any

from gateway.kubernetes import connection, names
from gateway.kubernetes.connection import CONFLICT, NOT_FOUND
from gateway.kubernetes.controller.manifests import ManifestController

NETWORK_POLICY = "networkPolicy"
"""Key in a DaskCluster's status: the name of its NetworkPolicy."""


class NetworkPolicies:
    """Create the policies of clusters through upstream's controller, and delete them."""

    def __init__(self, controller: ManifestController) -> None:
        self._controller = controller

    async def ensure(self, cluster: Mapping[str, Any], status: dict[str, Any]) -> None:
        """Create the policy of a cluster unless the status names it, and note its name."""
        if NETWORK_POLICY in status:
            return
        made = network_policy(cluster, self._controller.get_labels(cluster["metadata"]["name"]))
        with connection.accepting(CONFLICT):
            await self._controller.networking_client.create_namespaced_network_policy(self._controller.namespace, made)
        status[NETWORK_POLICY] = made["metadata"]["name"]

    async def delete(self, name: str) -> None:
        """Delete the policy of the cluster of this name."""
        with connection.accepting(NOT_FOUND):
            await self._controller.networking_client.delete_namespaced_network_policy(
                name_of(name), self._controller.namespace
            )


def network_policy(cluster: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the policy of a DaskCluster, which owns it; ``labels`` are those of all objects of the cluster.

    A worker has no other open port: the web server of its own (8787) needs no login.
    """
    metadata = cluster["metadata"]
    owner = {
        **{key: cluster[key] for key in ("apiVersion", "kind")},
        **{key: metadata[key] for key in ("name", "uid")},
    }
    pods = {"podSelector": {"matchLabels": dict(labels)}}
    first, last = names.WORKER_PORTS
    ports = [
        {"protocol": "TCP", "port": names.SCHEDULER_PORT},
        {"protocol": "TCP", "port": first, "endPort": last},
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name_of(metadata["name"]), "labels": dict(labels), "ownerReferences": [owner]},
        "spec": {
            **pods,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [pods], "ports": ports}],
            "egress": [{"to": [pods], "ports": ports}],
        },
    }


def name_of(cluster: str) -> str:
    """Return the name of the policy of the cluster of this name."""
    return f"dask-{cluster}"
