"""From a site to the configuration of the SLURM gateway, and from a user's request to that of a cluster. Pure."""

import math
from typing import Any

from traitlets.config import Config

from gateway.as_user.preflight import Plan
from gateway.request import storage
from gateway.request.options import ClusterRequest, cluster_options
from gateway.site import GIB, Backend, Site
from gateway.slurm.launcher import VARIABLES

HEARTBEAT_SECONDS = 15
HEARTBEAT_TIMEOUT_SECONDS = 300
"""Upstream's twice the period kills schedulers that are busy with a big graph, or with a crowd of starting workers."""
MOST_BACKOFF_SECONDS = 30
"""Between attempts to cancel a job (upstream: 300)."""
CHECK_SECONDS = 5
"""How late a bound of time may be noticed (upstream: 20)."""

SCRATCH = "/tmp/dask-{uid}"  # noqa: S108 - made by the user's job for the user alone
"""Home of scheduler and workers, which see no /home: a directory of their node."""


def server_config(site: Site) -> Config:
    """The configuration of API server and proxy."""
    slurm = site.slurm
    config = Config()
    config.DaskGateway.address = f"127.0.0.1:{slurm.api_port}"
    config.DaskGateway.authenticator_class = "gateway.identity.authenticator.HubAuthenticator"
    config.DaskGateway.backend_class = "gateway.slurm.backend.FacilitySlurmBackend"
    config.Measured.metrics_address = f"{slurm.metrics_address}:{slurm.metrics_port}"
    config.HubAuthenticator.backend = Backend.SLURM.value
    # A service of its own, so that clients stay connected while the server restarts.
    config.Proxy.externally_managed = True
    config.Proxy.address = f":{slurm.proxy_port}"
    backend = config.FacilitySlurmBackend
    backend.api_url = f"http://{slurm.submission_host}:{slurm.proxy_port}/api"
    backend.db_url = f"sqlite:///{slurm.state_directory}/gateway.sqlite"
    backend.stop_clusters_on_shutdown = False
    backend.cluster_start_timeout = slurm.timeouts.start_seconds
    # Waiting in SLURM's queue is no failure.
    backend.worker_start_timeout = slurm.timeouts.lifetime_seconds
    backend.cluster_heartbeat_period = HEARTBEAT_SECONDS
    backend.cluster_heartbeat_timeout = HEARTBEAT_TIMEOUT_SECONDS
    backend.check_timeouts_period = CHECK_SECONDS
    backend.backoff_max_delay = MOST_BACKOFF_SECONDS
    backend.cluster_options = cluster_options(site, Backend.SLURM)
    return config


def cluster_config(site: Site, request: ClusterRequest) -> dict[str, Any]:
    """Traits of the cluster's configuration (:class:`gateway.slurm.backend.FacilitySlurmClusterConfig`).

    The user's variables are not in it: the gateway writes them into the cluster's folder and forgets them.
    """
    slurm = site.slurm
    cores = math.ceil(request.worker_cores)
    return {
        "plan": plan_of(site, request).encoded(),
        "scheduler_cmd": ["scheduler"],
        "worker_cmd": ["worker"],
        "uid": request.account.uid,
        "gid": request.account.gid,
        "scheduler_cores": math.ceil(slurm.scheduler.cores),
        "scheduler_memory": round(slurm.scheduler.memory_gib * GIB),
        "worker_cores": cores,
        "worker_threads": cores,
        "worker_memory": request.worker_memory_bytes,
        "staging_directory": slurm.staging_directory,
        "lifetime_seconds": slurm.timeouts.lifetime_seconds,
    }


def plan_of(site: Site, request: ClusterRequest) -> Plan:
    """What the launcher checks on the submission host, and what jobs start by."""
    mounts = storage.mounts(site, Backend.SLURM, request.user_class)
    return Plan(
        option=request.environment.option,
        path=request.environment.path,
        prefix=request.environment.prefix,
        name=request.environment.name,
        visible=[mount.volume.path for mount in mounts],
        markers=[],
        workers=site.slurm.workers_label,
        advice=storage.relocation_advice(site, Backend.SLURM, request.user_class),
        # In the cluster's folder.
        variables=VARIABLES,
        scratch=SCRATCH.format(uid=request.account.uid),
    )
