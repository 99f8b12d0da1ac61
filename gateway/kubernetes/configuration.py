"""What upstream's classes are configured with on Kubernetes, made of the site. Pure."""

from collections.abc import Mapping
from typing import Any

from dask_gateway_server.backends.kubernetes.utils import merge_json_objects
from traitlets.config import Config

from gateway.as_user import preload
from gateway.as_user.preflight import Plan
from gateway.identity.accounts import Account
from gateway.kubernetes import names
from gateway.request import environment_variables, storage
from gateway.request.options import ClusterRequest, cluster_options
from gateway.site import GIB, Backend, KubernetesGateway, Site

SCRATCH = "/scratch"
"""Home and working directory of scheduler and workers: their pod's own, gone with it."""
PREFLIGHT = "/opt/dask-gateway/preflight.py"
"""Where the pods' image has ``gateway/as_user/preflight.py``; it runs with any ``python3`` of that image."""
PRELOAD = "/opt/dask-gateway/preload.py"
"""Where it has ``gateway/as_user/preload.py``, which schedulers load."""
VARIABLES = "/etc/dask-variables"
"""Where pods see the Secret of :func:`names.variables_name`."""
VARIABLES_KEY = "variables"
PASSWD_KEY = "passwd"  # noqa: S105 - the name of a file
"""Keys of that Secret: environment variables as the preflight reads them, and the pod's ``/etc/passwd``."""
REPORT = "/dev/termination-log"
"""Kubernetes puts what a container writes here into its pod's status."""
LEAST_CORES_LIMIT = 1.0
"""Below a core Python takes ten seconds and more to start (a limit is upstream's request unless it is set)."""
SCHEDULER_CORES_FACTOR = 4
"""How far above its request a scheduler may burst while it starts or receives a large graph."""


def api_config(site: Site) -> Config:
    """Configuration of the API server."""
    gateway = site.kubernetes
    config = _common_config("KubeBackend", gateway)
    config.DaskGateway.address = f":{names.API_PORT}"
    config.DaskGateway.authenticator_class = "gateway.identity.authenticator.HubAuthenticator"
    config.DaskGateway.backend_class = "gateway.kubernetes.api.backend.FacilityKubeBackend"
    config.HubAuthenticator.backend = Backend.KUBERNETES.value
    config.KubeBackend.api_url = names.api_url(gateway)
    config.KubeBackend.cluster_options = cluster_options(site, Backend.KUBERNETES)
    return config


def controller_config(site: Site) -> Config:
    """Configuration of the controller."""
    gateway = site.kubernetes
    config = _common_config("KubeController", gateway)
    config.KubeController.address = f":{names.API_PORT}"
    config.KubeController.minimum_uid = site.identity.minimum_uid
    config.KubeController.minimum_gid = site.identity.minimum_gid
    config.FacilityKubeController.start_seconds = gateway.timeouts.start_seconds
    config.FacilityKubeController.lifetime_seconds = gateway.timeouts.lifetime_seconds
    config.FacilityKubeController.client_gone_seconds = gateway.timeouts.client_gone_seconds
    config.FacilityKubeController.gateway = gateway
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
    config.Measured.metrics_address = f":{names.METRICS_PORT}"
    return config


def cluster_config(site: Site, request: ClusterRequest) -> dict[str, Any]:
    """Traits of ``KubeClusterConfig`` for a user's request: complete, and shared with no other request.

    Memory is in bytes, cores are fractional. The user's variables are not in it: see :func:`secret_content`.
    """
    gateway = site.kubernetes
    pod = _pod(site, request)
    container = _container(site, request)
    labels = _labels(request)
    plan = plan_of(site, request).encoded()
    return {
        "namespace": gateway.namespace,
        "image": gateway.images.environment,
        "image_pull_policy": gateway.image_pull_policy,
        "scheduler_cmd": _command(plan, "scheduler"),
        "worker_cmd": _command(plan, "worker"),
        "environment": {
            "HOME": SCRATCH,
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
    """Requests and limits, all of them: a limit that upstream derives could be below the request."""
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
    """How many cores a scheduler may burst to."""
    burst = max(LEAST_CORES_LIMIT, SCHEDULER_CORES_FACTOR * gateway.scheduler.cores)
    return min(burst, gateway.limit_range.maximum_cores)


def plan_of(site: Site, request: ClusterRequest) -> Plan:
    """What pods check before they become scheduler or worker."""
    mounts = storage.mounts(site, Backend.KUBERNETES, request.user_class)
    return Plan(
        option=request.environment.option,
        path=request.environment.path,
        prefix=request.environment.prefix,
        name=request.environment.name,
        visible=[mount.volume.path for mount in mounts],
        markers=storage.markers(site, Backend.KUBERNETES, request.user_class),
        workers=storage.WORKERS[Backend.KUBERNETES],
        advice=storage.elsewhere(site, Backend.KUBERNETES, request.user_class),
        variables=f"{VARIABLES}/{VARIABLES_KEY}",
        report=REPORT,
    )


def _command(plan: str, role: str) -> list[str]:
    # Isolated and without packages, because nothing of the user's may change what runs before the checks.
    return ["python3", "-IS", PREFLIGHT, "start", _literal(plan), role]


def _literal(text: str) -> str:
    """The text such that Kubernetes, which expands ``$(NAME)`` and ``$$``, hands it over unchanged."""
    return text.replace("$", "$$")


def secret_content(request: ClusterRequest) -> dict[str, bytes]:
    """What the Secret of a cluster holds: the user's variables, and a passwd file that knows the user."""
    account = request.account
    passwd = (
        "root:x:0:0:root:/root:/usr/sbin/nologin\n"
        f"{request.username}:x:{account.uid}:{account.gid}:{request.username}:{SCRATCH}:/bin/sh\n"
    )
    return {VARIABLES_KEY: environment_variables.encoded(request.variables), PASSWD_KEY: passwd.encode()}


def with_variables(pod: Mapping[str, Any], cluster: str) -> dict[str, Any]:
    """The pod with the Secret of its cluster mounted, and with the passwd file in its place."""
    mounted = {
        "volumes": [{"name": "variables", "secret": {"secretName": names.variables_name(cluster)}}],
    }
    mounts = [
        {"name": "variables", "mountPath": VARIABLES, "readOnly": True},
        {"name": "variables", "mountPath": "/etc/passwd", "subPath": PASSWD_KEY, "readOnly": True},
    ]
    (container,) = pod["spec"]["containers"]
    container = merge_json_objects(container, {"volumeMounts": mounts})
    spec = {**merge_json_objects(pod["spec"], mounted), "containers": [container]}
    return {**pod, "spec": spec}


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
