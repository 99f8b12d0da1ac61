"""Configuration of the SLURM gateway from a site, and of a cluster from a user's request. Pure."""

import math
from typing import Any

from traitlets.config import Config

from gateway.as_user.preflight import Plan
from gateway.request import plan
from gateway.request.options import ClusterRequest, cluster_options
from gateway.site import GIB, Backend, Site
from gateway.slurm.cluster_folder import VARIABLES

HEARTBEAT_SECONDS = 15
HEARTBEAT_TIMEOUT_SECONDS = 300
"""Upstream's default, twice the period, ends clusters whose scheduler is busy with a big graph or many new workers."""
MOST_BACKOFF_SECONDS = 30
"""Longest backoff between attempts to cancel a job (upstream: 300)."""
CHECK_SECONDS = 5
"""Period of the checks of timeouts (upstream: 20)."""

SCRATCH = "dask-{uid}"
"""First part of the name of HOME of scheduler and workers, which have no /home: a directory on their node."""


def server_config(site: Site) -> Config:
    """Return the configuration of the server."""
    slurm = site.slurm
    config = Config()
    config.DaskGateway.address = f"127.0.0.1:{slurm.api_port}"
    config.DaskGateway.authenticator_class = "gateway.identity.authenticator.HubAuthenticator"
    config.DaskGateway.backend_class = "gateway.slurm.backend.FacilitySlurmBackend"
    config.Measured.metrics_address = f"{slurm.metrics_address}:{slurm.metrics_port}"
    config.HubAuthenticator.backend = Backend.SLURM.value
    backend = config.FacilitySlurmBackend
    backend.api_url = f"http://{slurm.submission_host}:{slurm.proxy_port}/api"
    backend.db_url = f"sqlite:///{slurm.state_directory}/gateway.sqlite"
    backend.stop_clusters_on_shutdown = False
    backend.cluster_start_timeout = slurm.timeouts.start_seconds
    # A worker may wait in SLURM's queue for the whole lifetime.
    backend.worker_start_timeout = slurm.timeouts.lifetime_seconds
    backend.cluster_heartbeat_period = HEARTBEAT_SECONDS
    backend.cluster_heartbeat_timeout = HEARTBEAT_TIMEOUT_SECONDS
    backend.check_timeouts_period = CHECK_SECONDS
    backend.backoff_max_delay = MOST_BACKOFF_SECONDS
    backend.cluster_options = cluster_options(site, Backend.SLURM)
    return config


def cluster_config(site: Site, request: ClusterRequest) -> dict[str, Any]:
    """Return the traits of :class:`gateway.slurm.cluster_configuration.FacilitySlurmClusterConfig` for a request.

    They do not contain the user's variables: the gateway writes these into the cluster's folder and forgets them.
    """
    slurm = site.slurm
    cores = math.ceil(request.worker_cores)
    return {
        "plan": plan_of(site, request).encoded(),
        "scheduler_cmd": ["scheduler"],
        "worker_cmd": ["worker", *plan.WORKER_OPTIONS],
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
    """Return the plan of the preflight in the cluster's jobs."""
    # The jobs of a cluster get the path in the cluster's folder.
    return plan.plan_of(site, Backend.SLURM, request, VARIABLES)._replace(
        scratch=SCRATCH.format(uid=request.account.uid)
    )
