"""A part of the gateway that runs in pods: its identity, what it may do, and its Deployment."""

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

RUN_AS = 65532
"""uid and gid of our images' processes: nobody's."""
TIMEOUT = "4m"
"""For pods to become ready, pulls of images included; Pulumi's own would be ten minutes."""
DRAIN_SECONDS = 5
"""Proxies go on sending requests to a pod for seconds after it left the endpoints."""
CLOSING_SECONDS = 30
"""How long a part may take to end after SIGTERM (Kubernetes' own default)."""
SECRET_MODE = 0o440
"""Of files of Secrets: for the part's group, which :data:`RUN_AS` is, alone."""


@dataclass(frozen=True)
class Mount:
    """A read-only volume of a container."""

    name: str
    path: str
    source: Mapping[str, Any]
    """A volume's source, for example ``{"config_map": {...}}``."""


@dataclass(frozen=True)
class WorkloadArgs:
    """One part of the gateway."""

    gateway: KubernetesGateway
    namespace: pulumi.Input[str]
    name: str
    """Of all its objects."""
    component: str
    image: str
    arguments: Sequence[str]
    ports: Mapping[str, int]
    """Name -> container port."""
    readiness: Mapping[str, Any]
    """A probe's action."""
    rules: Sequence[Mapping[str, Sequence[str]]]
    """What its Role, in the namespace, allows."""
    resources: Amounts
    replicas: int = 1
    recreate: bool = False
    """Whether the old pod must be gone before the new one starts."""
    takes_requests: bool = False
    """Whether others send requests to its pods: then a pod that leaves goes on serving until they have learnt that, and
    a node's drain takes one pod at a time."""
    closing_seconds: int = CLOSING_SECONDS
    """How long a pod may take to end what it has begun, from SIGTERM on."""
    mounts: Sequence[Mount] = ()
    annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Of the pods: a change restarts them."""
    depends_on: Sequence[pulumi.Resource] = ()


class Workload(pulumi.ComponentResource):
    """ServiceAccount, Role, RoleBinding, Deployment and budget of a part, within Pod Security "restricted"."""

    def __init__(self, name: str, args: WorkloadArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("af-dask-gateway:infra:Workload", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.labels = names.component_labels(args.gateway.release, args.component)
        metadata = {"name": args.name, "namespace": args.namespace, "labels": self.labels}
        self.account = ServiceAccount(args.name, metadata=metadata, automount_service_account_token=False, opts=child)
        self.role = Role(args.name, metadata=metadata, rules=list(args.rules), opts=child)
        self.binding = RoleBinding(
            args.name,
            metadata=metadata,
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": args.name},
            subjects=[{"kind": "ServiceAccount", "name": args.name, "namespace": args.namespace}],
            opts=child,
        )
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
                depends_on=[self.account, self.role, self.binding, *args.depends_on],
                custom_timeouts=pulumi.CustomTimeouts(create=TIMEOUT, update=TIMEOUT),
            ),
        )
        self.budget = self._budget(args, metadata, child) if args.takes_requests else None
        self.register_outputs({})

    def _budget(
        self, args: WorkloadArgs, metadata: Mapping[str, Any], opts: pulumi.ResourceOptions
    ) -> PodDisruptionBudget:
        spec = {
            # Not a least number of pods: with one replica that would keep nodes from being drained at all.
            "max_unavailable": 1,
            "selector": {"match_labels": self.labels},
            # Pods that are not ready serve nobody, and would hold up a drain for ever.
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
        # Process 1 is the pod's own: Python has no handler for SIGTERM before it has imported one, and an init in the
        # image (tini) wakes once a second.
        "share_process_namespace": True,
        "security_context": {
            "run_as_non_root": True,
            "run_as_user": RUN_AS,
            "run_as_group": RUN_AS,
            # Secrets are readable for the group only.
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
    """On as many nodes as there are, and on one node if there is only one."""
    return {
        "topology_key": "kubernetes.io/hostname",
        "max_skew": 1,
        "when_unsatisfiable": "ScheduleAnyway",
        "label_selector": {"match_labels": names.component_labels(args.gateway.release, args.component)},
        # The pods of the version that goes don't count.
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
        # Asked each second until it is ready for the first time, for as long as that takes, and seldom afterwards;
        # not at all where nobody is led by it.
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
