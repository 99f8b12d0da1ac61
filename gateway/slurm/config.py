"""From a site to the configuration of the SLURM gateway, and from a user's request to that of a cluster. Pure."""

import math
from typing import Any

from traitlets.config import Config

from gateway.auth import HubAuthenticator
from gateway.options import GIB, ClusterRequest, cluster_options
from gateway.site import Backend, Site
from gateway.slurm.backend import FacilitySlurmBackend

HEARTBEAT_SECONDS = 15
HEARTBEAT_TIMEOUT_SECONDS = 300
"""Upstream's twice the period kills schedulers that are busy with a big graph, or with a crowd of starting workers."""

# Workers have no /home, and programs want to write in HOME: a directory of the node, the user's own. The login shell
# that SLURM asks for a job's variables may have set HOME, and nobody else may have made the directory before.
PRIVATE_HOME = """\
export HOME="/tmp/dask-$(id -u)"
mkdir -m 700 -p "$HOME" && [ -O "$HOME" ] || { echo "$HOME on $(hostname) belongs to somebody else" >&2; exit 1; }
export DASK_TEMPORARY_DIRECTORY="${DASK_TEMPORARY_DIRECTORY:-$HOME}"
"""


def server_config(site: Site) -> Config:
    """The configuration of API server and proxy."""
    slurm = site.slurm
    config = Config()
    config.DaskGateway.address = f"127.0.0.1:{slurm.api_port}"
    config.DaskGateway.authenticator_class = HubAuthenticator
    config.DaskGateway.backend_class = FacilitySlurmBackend
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
    backend.cluster_options = cluster_options(site, Backend.SLURM, cluster_config)
    return config


def cluster_config(site: Site, request: ClusterRequest) -> dict[str, Any]:
    """Traits of the cluster's configuration (:class:`gateway.slurm.backend.FacilitySlurmClusterConfig`)."""
    slurm = site.slurm
    dask = f"{request.prefix}/bin/dask"
    cores = math.ceil(request.worker_cores)
    return {
        "scheduler_cmd": [dask, "scheduler"],
        "worker_cmd": [dask, "worker"],
        "scheduler_setup": PRIVATE_HOME,
        "worker_setup": PRIVATE_HOME,
        "environment": request.environment,
        "scheduler_cores": math.ceil(slurm.scheduler.cores),
        "scheduler_memory": round(slurm.scheduler.memory_gib * GIB),
        "worker_cores": cores,
        "worker_threads": cores,
        "worker_memory": request.worker_memory_bytes,
        "partition": slurm.partition,
        "account": slurm.account,
        "staging_directory": slurm.staging_directory,
        "lifetime_seconds": slurm.timeouts.lifetime_seconds,
    }
