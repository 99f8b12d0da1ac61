"""The class of a cluster's configuration on SLURM."""

from dask_gateway_server.backends.jobqueue import slurm
from traitlets import Integer, Unicode


class FacilitySlurmClusterConfig(slurm.SlurmClusterConfig):  # type: ignore[misc] # upstream has no types
    """Configuration of a cluster on SLURM; :func:`gateway.slurm.configuration.cluster_config` makes its values."""

    lifetime_seconds = Integer(86400, min=60, help="Scheduler and workers end after this.", config=True)
    uid = Integer(help="The uid of the user's account, from the directory.", config=True)
    gid = Integer(help="The gid of the user's account, from the directory.", config=True)
    plan = Unicode(help="Plan of the preflight and of the jobs (gateway.as_user.preflight.Plan).", config=True)
