"""A component of the gateway that runs in pods: its Deployment, ServiceAccount and rights."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import ServiceAccount
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget
from pulumi_kubernetes.rbac.v1 import Role, RoleBinding

from gateway.kubernetes import names
from gateway.site import KubernetesGateway
from infra.quantities import Amounts

CONFIGURATION_ANNOTATION = "af-dask-gateway/configuration"
"""Annotation of pods with the digest of files that their processes read only once."""
RUN_AS = 65532
"""uid and gid of the processes in the gateway's images. No account has these numbers."""
TIMEOUT = "4m"
"""How long Pulumi waits until the pods are ready, pulls of images included. Pulumi's default is 10 minutes."""
DRAIN_SECONDS = 5
"""Seconds for which a pod still serves before SIGTERM: proxies send requests to a pod for seconds after it left the
endpoints."""
CLOSING_SECONDS = 30
"""Seconds from SIGTERM to SIGKILL (Kubernetes' default grace period)."""
SECRET_MODE = 0o440
"""Mode of the files of a Secret: readable by root and by the group :data:`RUN_AS`."""


Rules = Sequence[Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class Mount:
    """A read-only volume of a container."""

    name: str
    path: str
    source: Mapping[str, Any]
    """Source of the volume in a pod specification, for example ``{"config_map": {...}}``."""


@dataclass(frozen=True)
class WorkloadArgs:
    """Arguments of :class:`Workload`."""

    gateway: KubernetesGateway
    namespace: pulumi.Input[str]
    name: str
    """Name of all objects of the component."""
    component: str
    image: str
    arguments: Sequence[str]
    ports: Mapping[str, int]
    """Container ports by name."""
    readiness: Mapping[str, Any]
    """Action of the probes, for example ``{"http_get": {...}}``."""
    clusters_namespace: pulumi.Input[str]
    clusters_rules: Rules
    """Rules of the Role in the namespace of users' clusters."""
    resources: Amounts
    rules: Rules = ()
    """Rules of the Role in the component's own namespace, which it shares with others."""
    replicas: int = 1
    recreate: bool = False
    """Whether Kubernetes deletes the old pod before it starts the new one."""
    takes_requests: bool = False
    """Whether a Service selects the pods. Then the pods have a readiness probe, a pod serves for :data:`DRAIN_SECONDS`
    after it left the endpoints, and a node's drain evicts one pod at a time."""
    closing_seconds: int = CLOSING_SECONDS
    """Seconds from SIGTERM to SIGKILL, in which a pod finishes its requests."""
    mounts: Sequence[Mount] = ()
    annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Annotations of the pods. Kubernetes replaces the pods when an annotation changes."""
    depends_on: Sequence[pulumi.Resource] = ()


class Workload(pulumi.ComponentResource):
    """ServiceAccount, Roles, RoleBindings, Deployment and PodDisruptionBudget of a component.

    The pods comply with Pod Security "restricted".
    """

    def __init__(self, name: str, args: WorkloadArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("af-dask-gateway:infra:Workload", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.labels = names.component_labels(args.gateway.release, args.component)
        metadata = {"name": args.name, "namespace": args.namespace, "labels": self.labels}
        self.account = ServiceAccount(args.name, metadata=metadata, automount_service_account_token=False, opts=child)
        self.rights = [
            *self._rights(args, args.name, args.namespace, args.rules),
            *self._rights(args, names.clusters_role_name(args.name), args.clusters_namespace, args.clusters_rules),
        ]
        self.deployment = Deployment(
            args.name,
            metadata=metadata,
            spec={
                "replicas": args.replicas,
                "selector": {"match_labels": self.labels},
                "strategy": _strategy(args),
                "template": {
                    "metadata": {"labels": self.labels, "annotations": args.annotations},
                    "spec": _pod(args),
                },
            },
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[self.account, *self.rights, *args.depends_on],
                custom_timeouts=pulumi.CustomTimeouts(create=TIMEOUT, update=TIMEOUT),
            ),
        )
        self.budget = self._budget(args, metadata, child) if args.takes_requests else None
        self.register_outputs({})

    def _rights(
        self, args: WorkloadArgs, name: str, namespace: pulumi.Input[str], rules: Rules
    ) -> list[pulumi.Resource]:
        """Declare a Role and its RoleBinding in a namespace, unless there is nothing to allow."""
        if not rules:
            return []
        child = pulumi.ResourceOptions(parent=self)
        metadata = {"name": name, "namespace": namespace, "labels": self.labels}
        role = Role(name, metadata=metadata, rules=list(rules), opts=child)
        binding = RoleBinding(
            name,
            metadata=metadata,
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            subjects=[{"kind": "ServiceAccount", "name": args.name, "namespace": args.namespace}],
            opts=child,
        )
        return [role, binding]

    def _budget(
        self, args: WorkloadArgs, metadata: Mapping[str, Any], opts: pulumi.ResourceOptions
    ) -> PodDisruptionBudget:
        spec = {
            # With min_available instead, a component of one replica would block each drain of its node.
            "max_unavailable": 1,
            "selector": {"match_labels": self.labels},
            # Pods that are not ready serve no requests. The default policy lets them block a drain without end.
            "unhealthy_pod_eviction_policy": "AlwaysAllow",
        }
        return PodDisruptionBudget(args.name, metadata=metadata, spec=spec, opts=opts)


def _strategy(args: WorkloadArgs) -> dict[str, Any]:
    if args.recreate:
        return {"type": "Recreate"}
    return {"type": "RollingUpdate", "rolling_update": {"max_unavailable": 0, "max_surge": 1}}


def _pod(args: WorkloadArgs) -> dict[str, Any]:
    gateway = args.gateway
    return {
        "service_account_name": args.name,
        "automount_service_account_token": True,
        "enable_service_links": False,
        # The pause container has process 1. Linux ignores SIGTERM to a process 1 without a handler, and Python has no
        # handler before it has imported one. An init process in the image (tini) would wake once a second.
        "share_process_namespace": True,
        "security_context": {
            "run_as_non_root": True,
            "run_as_user": RUN_AS,
            "run_as_group": RUN_AS,
            # The files of Secrets are readable by this group only (SECRET_MODE).
            "fs_group": RUN_AS,
            "seccomp_profile": {"type": "RuntimeDefault"},
        },
        "node_selector": dict(gateway.placement.node_selector),
        "tolerations": [dict(toleration) for toleration in gateway.placement.tolerations],
        "topology_spread_constraints": [_spread(args)],
        "termination_grace_period_seconds": args.closing_seconds + (DRAIN_SECONDS if args.takes_requests else 0),
        "host_aliases": [{"ip": address, "hostnames": [host]} for host, address in gateway.host_aliases.items()],
        "containers": [_container(args)],
        "volumes": [{"name": mount.name, **mount.source} for mount in args.mounts],
    }


def _spread(args: WorkloadArgs) -> dict[str, Any]:
    """Spread the pods over nodes where possible; with one node, all pods run there."""
    return {
        "topology_key": "kubernetes.io/hostname",
        "max_skew": 1,
        "when_unsatisfiable": "ScheduleAnyway",
        "label_selector": {"match_labels": names.component_labels(args.gateway.release, args.component)},
        # Pods of the previous version don't count during a rolling update.
        "match_label_keys": ["pod-template-hash"],
    }


def _container(args: WorkloadArgs) -> dict[str, Any]:
    probe = {**args.readiness, "timeout_seconds": 2}
    serving = {
        "readiness_probe": {**probe, "period_seconds": 15, "failure_threshold": 2},
        "lifecycle": {"pre_stop": {"sleep": {"seconds": DRAIN_SECONDS}}},
    }
    return {
        "name": args.component,
        "image": args.image,
        "image_pull_policy": args.gateway.image_pull_policy,
        "args": list(args.arguments),
        "ports": [{"name": name, "container_port": port} for name, port in args.ports.items()],
        # The kubelet probes once a second, for up to a day, until the container has started. The rarer readiness probe
        # follows. No readiness probe where no Service selects the pod.
        "startup_probe": {**probe, "period_seconds": 1, "failure_threshold": 86400},
        "resources": args.resources.requirements,
        "security_context": {
            "allow_privilege_escalation": False,
            "capabilities": {"drop": ["ALL"]},
            "read_only_root_filesystem": True,
        },
        "volume_mounts": [{"name": mount.name, "mount_path": mount.path, "read_only": True} for mount in args.mounts],
        **(serving if args.takes_requests else {}),
    }


def digest(*texts: str) -> str:
    """Return 16 hex digits of a SHA-256 digest: enough to detect a change, too few to reveal a secret."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
