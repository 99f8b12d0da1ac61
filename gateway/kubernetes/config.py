"""What upstream's classes are configured with on Kubernetes, made of the site. Pure."""

from typing import Any

from traitlets.config import Config

from gateway import storage
from gateway.kubernetes import names
from gateway.options import GIB, ClusterRequest, cluster_options
from gateway.site import Backend, KubernetesGateway, Site
from gateway.users import Account

SCRATCH = "/scratch"
"""Home and working directory of scheduler and workers: their pod's own, gone with it."""
LEAST_CORES_LIMIT = 1.0
"""Below a core Python takes ten seconds and more to start (a limit is upstream's request unless it is set)."""
SCHEDULER_CORES_FACTOR = 4
"""How far above its request a scheduler may burst while it starts or receives a large graph."""
READINESS_PERIOD_SECONDS = 1
"""Upstream's 5 s would be the longest part of some starts."""
READINESS_FAILURES = 60
"""A scheduler that is busy with a large graph for less than a minute keeps its route (upstream: 15 s)."""


def api_config(site: Site) -> Config:
    """Configuration of the API server."""
    gateway = site.kubernetes
    config = _common_config("KubeBackend", gateway)
    config.DaskGateway.address = f":{names.API_PORT}"
    config.DaskGateway.authenticator_class = "gateway.auth.HubAuthenticator"
    config.DaskGateway.backend_class = "gateway.kubernetes.backend.FacilityKubeBackend"
    config.HubAuthenticator.backend = Backend.KUBERNETES.value
    # Upstream makes up another name in each process, so that replicas would overwrite each other's cookies.
    config.HubAuthenticator.cookie_name = gateway.release
    config.KubeBackend.api_url = names.api_url(gateway)
    config.KubeBackend.cluster_options = cluster_options(site, Backend.KUBERNETES, cluster_config)
    return config


def controller_config(site: Site) -> Config:
    """Configuration of the controller."""
    gateway = site.kubernetes
    config = _common_config("KubeController", gateway)
    config.KubeController.address = f":{names.API_PORT}"
    config.KubeController.api_url = names.api_url(gateway)
    config.KubeController.proxy_web_entrypoint = names.WEB_ENTRYPOINT
    config.KubeController.proxy_tcp_entrypoint = names.SCHEDULER_ENTRYPOINT
    config.KubeController.proxy_web_middlewares = [
        {"name": names.clusters_middleware_name(gateway.release), "namespace": gateway.namespace}
    ]
    return config


def _common_config(class_name: str, gateway: KubernetesGateway) -> Config:
    config = Config()
    config[class_name].gateway_instance = gateway.release
    config[class_name].common_labels = names.common_labels(gateway.release)
    config[class_name].namespace = gateway.namespace
    return config


def cluster_config(site: Site, request: ClusterRequest) -> dict[str, Any]:
    """Traits of ``KubeClusterConfig`` for a user's request: complete, and shared with no other request.

    Memory is in bytes, cores are fractional.
    """
    gateway = site.kubernetes
    pod = _pod(site, request)
    container = _container(site, request)
    labels = _labels(request)
    return {
        "namespace": gateway.namespace,
        "image": gateway.images.environment,
        "image_pull_policy": gateway.image_pull_policy,
        "scheduler_cmd": _command(request, "scheduler"),
        "worker_cmd": _command(request, "worker"),
        "environment": _environment(request),
        **_resources(gateway, request),
        "worker_extra_pod_config": pod,
        "scheduler_extra_pod_config": pod,
        "worker_extra_container_config": container,
        "scheduler_extra_container_config": {**container, **_scheduler_probe()},
        "worker_extra_pod_labels": labels,
        "scheduler_extra_pod_labels": labels,
    }


def _resources(gateway: KubernetesGateway, request: ClusterRequest) -> dict[str, Any]:
    """Requests and limits, all of them: a limit that upstream derives could be below the request."""
    scheduler = gateway.scheduler
    scheduler_memory = round(scheduler.memory_gib * GIB)
    burst = max(LEAST_CORES_LIMIT, SCHEDULER_CORES_FACTOR * scheduler.cores)
    return {
        "worker_cores": request.worker_cores,
        "worker_cores_limit": max(LEAST_CORES_LIMIT, request.worker_cores),
        "worker_memory": request.worker_memory_bytes,
        "worker_memory_limit": request.worker_memory_bytes,
        "worker_threads": max(1, int(request.worker_cores)),
        "scheduler_cores": scheduler.cores,
        "scheduler_cores_limit": min(burst, gateway.limit_range.maximum_cores),
        "scheduler_memory": scheduler_memory,
        "scheduler_memory_limit": scheduler_memory,
    }


def _command(request: ClusterRequest, role: str) -> list[str]:
    return [_literal(f"{request.prefix}/bin/dask"), role]


def _environment(request: ClusterRequest) -> dict[str, str]:
    # No passwd entry tells the user's name in a pod, and many libraries ask for it.
    account = {"USER": request.account.name, "LOGNAME": request.account.name}
    variables = {**account, **request.environment, "HOME": SCRATCH}
    return {name: _literal(value) for name, value in variables.items()}


def _literal(text: str) -> str:
    """The text such that Kubernetes, which expands ``$(NAME)`` and ``$$``, hands it over unchanged."""
    return text.replace("$", "$$")


def _labels(request: ClusterRequest) -> dict[str, str]:
    return {
        names.USER_LABEL: names.label_value(request.username),
        names.USER_CLASS_LABEL: names.label_value(request.user_class),
    }


def _pod(site: Site, request: ClusterRequest) -> dict[str, Any]:
    placement = site.kubernetes.placement
    mounts = storage.mounts(site, Backend.KUBERNETES, request.user_class)
    return {
        "securityContext": _security_context(request.account),
        "enableServiceLinks": False,
        "nodeSelector": dict(placement.node_selector),
        "tolerations": [dict(toleration) for toleration in placement.tolerations],
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
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


def _security_context(account: Account) -> dict[str, Any]:
    # No fsGroup: it would make Kubernetes change the owners of whole file systems.
    return {
        "runAsUser": account.uid,
        "runAsGroup": account.gid,
        "supplementalGroups": list(account.groups),
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container(site: Site, request: ClusterRequest) -> dict[str, Any]:
    mounts = storage.mounts(site, Backend.KUBERNETES, request.user_class)
    return {
        "workingDir": SCRATCH,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "scratch", "mountPath": SCRATCH},
            *(
                {
                    "name": _volume_name(mount),
                    "mountPath": mount.volume.path,
                    "readOnly": mount.read_only,
                    # So that a file system which the node mounts again (CVMFS, EOS) comes back in running pods.
                    "mountPropagation": "HostToContainer",
                }
                for mount in mounts
            ),
        ],
    }


def _scheduler_probe() -> dict[str, Any]:
    return {
        "readinessProbe": {
            "periodSeconds": READINESS_PERIOD_SECONDS,
            "timeoutSeconds": READINESS_PERIOD_SECONDS,
            "failureThreshold": READINESS_FAILURES,
        }
    }
