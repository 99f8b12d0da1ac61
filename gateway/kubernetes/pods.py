"""The pods of a user's cluster, as traits of upstream's ``KubeClusterConfig``. Pure."""

from typing import Any

from gateway.as_user import preload
from gateway.as_user.preflight import Plan
from gateway.identity.accounts import Account
from gateway.kubernetes import names, pod_paths, variables_secret
from gateway.request import plan, storage
from gateway.request.options import ClusterRequest
from gateway.site import GIB, Backend, KubernetesGateway, Site

LEAST_CORES_LIMIT = 1.0
"""With less than a core Python takes ten seconds and more to start. Upstream's default limit is the request."""
SCHEDULER_CORES_FACTOR = 4
"""How far above its request a scheduler may burst while it starts or receives a large graph."""


EPHEMERAL_STORAGE = "ephemeral-storage"
"""Kubernetes' name of a node's local disk as a resource."""
WRITABLE = {"scratch": pod_paths.SCRATCH, "tmp": pod_paths.TMP}
"""Volumes of the pod alone, by name, where Dask spills and a user's code writes; the rest of its image is read-only."""
DEADLINE_GRACE_SECONDS = 600
"""How long after a cluster's lifetime the kubelet ends its pods, should the controller not have done so."""


def cluster_config(site: Site, request: ClusterRequest) -> dict[str, Any]:
    """Return the traits of ``KubeClusterConfig`` for a user's request: complete, and shared with no other request.

    Memory is in bytes, cores are fractional. The user's variables are not part of it:
    :mod:`gateway.kubernetes.variables_secret` has them.
    """
    gateway = site.kubernetes
    pod = _pod(site, request)
    container = _container(site, request)
    labels = _labels(request)
    encoded = plan_of(site, request).encoded()
    return {
        "namespace": gateway.clusters_namespace,
        "image": gateway.images.environment,
        "image_pull_policy": gateway.image_pull_policy,
        "scheduler_cmd": _command(encoded, "scheduler"),
        "worker_cmd": [*_command(encoded, "worker"), *plan.WORKER_OPTIONS],
        "environment": {
            "HOME": pod_paths.SCRATCH,
            preload.REPORT_SECONDS: str(gateway.timeouts.report_seconds),
            preload.REPORT_START: "1",
        },
        **_resources(gateway, request),
        "worker_extra_pod_config": pod,
        "scheduler_extra_pod_config": pod,
        "worker_extra_container_config": container,
        "scheduler_extra_container_config": container,
        "worker_extra_pod_labels": labels,
        "scheduler_extra_pod_labels": labels,
    }


def _resources(gateway: KubernetesGateway, request: ClusterRequest) -> dict[str, Any]:
    # Every limit is set: a limit that upstream derives could be below the request.
    scheduler = gateway.scheduler
    scheduler_memory = round(scheduler.memory_gib * GIB)
    return {
        "worker_cores": request.worker_cores,
        "worker_cores_limit": max(LEAST_CORES_LIMIT, request.worker_cores),
        "worker_memory": request.worker_memory_bytes,
        "worker_memory_limit": request.worker_memory_bytes,
        "worker_threads": max(1, int(request.worker_cores)),
        "scheduler_cores": scheduler.cores,
        "scheduler_cores_limit": scheduler_cores_limit(gateway),
        "scheduler_memory": scheduler_memory,
        "scheduler_memory_limit": scheduler_memory,
    }


def scheduler_cores_limit(gateway: KubernetesGateway) -> float:
    """Return the number of cores to which a scheduler may burst."""
    burst = max(LEAST_CORES_LIMIT, SCHEDULER_CORES_FACTOR * gateway.scheduler.cores)
    return min(burst, gateway.limit_range.maximum_cores)


def plan_of(site: Site, request: ClusterRequest) -> Plan:
    """Return the plan of the preflight that each pod runs before it becomes a scheduler or worker."""
    common = plan.plan_of(site, Backend.KUBERNETES, request, variables_secret.VARIABLES_FILE)
    return common._replace(
        markers=storage.markers(site, Backend.KUBERNETES, request.user_class), report=pod_paths.TERMINATION_LOG
    )


def _command(encoded_plan: str, role: str) -> list[str]:
    # -IS keeps the user's files and packages out of the interpreter that runs the preflight.
    return ["python3", "-IS", pod_paths.PREFLIGHT, "start", _literal(encoded_plan), role]


def _literal(text: str) -> str:
    """Escape the text so that Kubernetes, which expands ``$(NAME)`` and ``$$``, passes it unchanged."""
    return text.replace("$", "$$")


def _labels(request: ClusterRequest) -> dict[str, str]:
    return {
        names.USER_LABEL: names.label_value(request.username),
        names.USER_CLASS_LABEL: names.label_value(request.user_class),
        names.UID_LABEL: str(request.account.uid),
    }


def _pod(site: Site, request: ClusterRequest) -> dict[str, Any]:
    gateway = site.kubernetes
    mounts = storage.mounts(site, Backend.KUBERNETES, request.user_class)
    return {
        "securityContext": _security_context(gateway, request.account),
        "serviceAccountName": names.clusters_account_name(gateway.release),
        "activeDeadlineSeconds": gateway.timeouts.lifetime_seconds + DEADLINE_GRACE_SECONDS,
        **_given(priorityClassName=gateway.user_pods.priority_class),
        "enableServiceLinks": False,
        "nodeSelector": dict(gateway.placement.node_selector),
        "tolerations": [dict(toleration) for toleration in gateway.placement.tolerations],
        "volumes": [
            *({"name": name, "emptyDir": {"sizeLimit": _storage_limit(gateway)}} for name in WRITABLE),
            *(
                {
                    "name": _volume_name(mount),
                    "persistentVolumeClaim": {
                        "claimName": names.claim_name(site, mount.volume),
                        "readOnly": mount.read_only,
                    },
                }
                for mount in mounts
            ),
        ],
    }


def _volume_name(mount: storage.Mount) -> str:
    return f"storage-{mount.volume.name}"


def _given(**fields: str | None) -> dict[str, str]:
    """Return the fields of a Kubernetes object that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def _storage_limit(gateway: KubernetesGateway) -> str:
    return str(round(gateway.user_pods.storage_limit_gib * GIB))


def _security_context(gateway: KubernetesGateway, account: Account) -> dict[str, Any]:
    # No fsGroup: the kubelet would change the owners of whole file systems.
    return {
        "runAsUser": account.uid,
        "runAsGroup": account.gid,
        "supplementalGroups": list(account.groups),
        **_given(supplementalGroupsPolicy=gateway.user_pods.supplemental_groups_policy),
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _storage(gateway: KubernetesGateway) -> dict[str, dict[str, str]]:
    # Without a request, Kubernetes would request as much as the limit.
    request = str(round(gateway.user_pods.storage_request_gib * GIB))
    return {
        "requests": {EPHEMERAL_STORAGE: request},
        "limits": {EPHEMERAL_STORAGE: _storage_limit(gateway)},
    }


def _container(site: Site, request: ClusterRequest) -> dict[str, Any]:
    mounts = storage.mounts(site, Backend.KUBERNETES, request.user_class)
    return {
        "workingDir": pod_paths.SCRATCH,
        "resources": _storage(site.kubernetes),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            *({"name": name, "mountPath": path} for name, path in WRITABLE.items()),
            *(
                {
                    "name": _volume_name(mount),
                    "mountPath": mount.volume.path,
                    "readOnly": mount.read_only,
                    # Running pods see a file system again after the node remounts it (CVMFS, EOS).
                    "mountPropagation": "HostToContainer",
                }
                for mount in mounts
            ),
        ],
    }
