"""Layout of a user's staging directory and of the cluster folders in it.

The server and the launcher share it. Each call of the launcher imports it, so it imports nothing.
"""

PROGRAM = "preflight.py"
PRELOAD = "preload.py"
"""Copies of the files of the same names in gateway/as_user."""
VARIABLES = "variables"
"""Environment variables of the cluster's jobs (:attr:`gateway.as_user.preflight.Plan.variables`)."""
CERTIFICATE = "dask.crt"
KEY = "dask.pem"
"""Key pair of the cluster; upstream's ``JobQueueBackend.get_tls_paths`` returns these names too."""
TOKEN = "api-token"  # noqa: S105 - the name of a file
"""Token with which the cluster calls the API."""
SCHEDULER_LOG = "dask-scheduler-{}.log"
"""Template with the cluster's name."""
WORKER_LOG = "dask-worker-%A_%a.log"
"""sbatch replaces ``%A`` and ``%a`` by the numbers of the array and of the array task."""


def staging_directory(template: str, username: str) -> str:
    """Return a user's staging directory; ``template`` is the site's ``slurm.staging_directory``."""
    return template.format(username=username)


def folder(staging: str, cluster: str) -> str:
    """Return a cluster's folder, which the launcher removes when the cluster ends."""
    return f"{staging}/{cluster}"


def logs(staging: str) -> str:
    """Return the directory with the logs of all clusters of a user."""
    return f"{staging}/logs"


def cluster_logs(staging: str, cluster: str) -> str:
    """Return the directory with a cluster's logs, which outlive the cluster."""
    return f"{logs(staging)}/{cluster}"
