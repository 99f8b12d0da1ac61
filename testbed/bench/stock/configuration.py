"""The configuration files of stock gateways: upstream's defaults, except where the comparison must be fair or this
testbed needs another value. Pure.

Both sides have the same images, versions, users' environments, sizes of schedulers and workers, and start timeouts.
Stock trusts the name that a client gives (upstream's default), which costs it less than a request to JupyterHub.
"""

from collections.abc import Mapping
from typing import Any

from gateway.kubernetes.pods import LEAST_CORES_LIMIT, scheduler_cores_limit
from gateway.request import environments, options, storage
from gateway.site import GIB, Backend, HostPathSource, Site

OPTIONS = f"""\
from dask_gateway_server.options import Float, Mapping, Options, String


def sizes(given):
    return {{
        "worker_cores": given.worker_cores,
        "worker_memory": round(given.worker_memory * {GIB}),
        "worker_threads": max(1, int(given.worker_cores)),
    }}


c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.Backend.cluster_options = Options(
    String("pixi_project", default=""),
    String("pixi_env", default="{environments.DEFAULT_PIXI_ENVIRONMENT}"),
    String("conda_env", default=""),
    Float("worker_cores", default={options.DEFAULT_WORKER_CORES}),
    Float("worker_memory", default={options.DEFAULT_WORKER_MEMORY_GIB}),
    Mapping("env", default={{}}),
    handler=sizes,
)
"""
"""The same options as ours, so that requests and answers are as long. Stock does not choose the environment by them."""


def kubernetes_api(site: Site, namespace: str, prefix: str) -> str:
    """Return the file of the API server; clusters run an environment in the directory ``prefix``."""
    gateway = site.kubernetes
    volumes, mounts = _volumes(site)
    settings = {
        "DaskGateway.address": ":8000",
        "DaskGateway.backend_class": "dask_gateway_server.backends.kubernetes.KubeBackend",
        "KubeBackend.gateway_instance": namespace,
        "KubeClusterConfig.namespace": namespace,
        "KubeClusterConfig.image": gateway.images.environment,
        "KubeClusterConfig.image_pull_policy": gateway.image_pull_policy,
        **_commands("KubeClusterConfig", prefix),
        "KubeClusterConfig.scheduler_cores": gateway.scheduler.cores,
        "KubeClusterConfig.scheduler_cores_limit": scheduler_cores_limit(gateway),
        "KubeClusterConfig.scheduler_memory": round(gateway.scheduler.memory_gib * GIB),
        # Upstream's limit would equal the request: with a tenth of a core a start takes ten seconds and more.
        "KubeClusterConfig.worker_cores_limit": LEAST_CORES_LIMIT,
        **{f"KubeClusterConfig.{role}_extra_pod_config": {"volumes": volumes} for role in ("scheduler", "worker")},
        **{
            f"KubeClusterConfig.{role}_extra_container_config": {"volumeMounts": mounts}
            for role in ("scheduler", "worker")
        },
    }
    return OPTIONS + _lines(settings)


def kubernetes_controller(namespace: str) -> str:
    """Return the file of the controller."""
    return _lines(
        {
            "KubeController.gateway_instance": namespace,
            "KubeController.address": ":8000",
            "KubeController.api_url": f"http://api.{namespace}:8000/api",
            "KubeController.proxy_web_entrypoint": "web",
            "KubeController.proxy_tcp_entrypoint": "web",
            "KubeController.proxy_web_middlewares": [{"name": "clusters-prefix", "namespace": namespace}],
        }
    )


def slurm_server(site: Site, *, port: int, api_port: int, prefix: str, staging_directory: str) -> str:
    """Return the file of API server and proxy; clusters run an environment in the directory ``prefix``."""
    slurm = site.slurm
    return OPTIONS + _lines(
        {
            "DaskGateway.address": f"127.0.0.1:{api_port}",
            "DaskGateway.backend_class": "dask_gateway_server.backends.jobqueue.slurm.SlurmBackend",
            "Proxy.address": f":{port}",
            "SlurmBackend.api_url": f"http://{slurm.submission_host}:{port}/api",
            "SlurmBackend.cluster_start_timeout": slurm.timeouts.start_seconds,
            # With the default, stock takes workers that wait in the queue for failed.
            "SlurmBackend.worker_start_timeout": slurm.timeouts.lifetime_seconds,
            "SlurmClusterConfig.staging_directory": staging_directory,
            "SlurmClusterConfig.partition": slurm.worker_jobs.partition,
            "SlurmClusterConfig.account": slurm.account,
            **_commands("SlurmClusterConfig", prefix),
            "SlurmClusterConfig.scheduler_cores": round(slurm.scheduler.cores),
            "SlurmClusterConfig.scheduler_memory": round(slurm.scheduler.memory_gib * GIB),
        }
    )


def _commands(class_name: str, prefix: str) -> dict[str, list[str]]:
    # distributed 2026.6 and later have no dask-scheduler and dask-worker, which are upstream's defaults.
    return {f"{class_name}.{role}_cmd": [f"{prefix}/bin/dask", role] for role in ("scheduler", "worker")}


def _volumes(site: Site) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a pod's volumes and their mounts, the same as in our pods of a user of the first class."""
    mounts = storage.mounts(site, Backend.KUBERNETES, site.kubernetes.classes[0])
    volumes = [
        {"name": mount.volume.name, "hostPath": {"path": mount.volume.kubernetes.path}}
        for mount in mounts
        if isinstance(mount.volume.kubernetes, HostPathSource)
    ]
    # Stock's pods run as root, so they must not be able to change users' files.
    return volumes, [{"name": mount.volume.name, "mountPath": mount.volume.path, "readOnly": True} for mount in mounts]


def _lines(settings: Mapping[str, object]) -> str:
    return "".join(f"c.{name} = {value!r}\n" for name, value in settings.items())
