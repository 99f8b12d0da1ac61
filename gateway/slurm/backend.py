"""Upstream's SLURM backend with what this facility needs besides."""

import math
import shlex
from typing import Any

from dask_gateway_server.backends.jobqueue import slurm
from dask_gateway_server.traitlets import Type
from traitlets import Integer


class FacilitySlurmClusterConfig(slurm.SlurmClusterConfig):  # type: ignore[misc] # upstream has no types
    """Configuration of a cluster on SLURM."""

    lifetime_seconds = Integer(86400, min=60, help="Scheduler and workers end after this.", config=True)


class FacilitySlurmBackend(slurm.SlurmBackend):  # type: ignore[misc] # upstream has no types
    """Runs schedulers and workers as jobs of their users."""

    cluster_config_class = Type(
        "gateway.slurm.backend.FacilitySlurmClusterConfig",
        klass="dask_gateway_server.backends.base.ClusterConfig",
        help="The class of a cluster's configuration.",
        config=True,
    )

    def get_submit_cmd_env_stdin(
        self, cluster: Any, worker: Any | None = None
    ) -> tuple[list[str], dict[str, str], str]:
        """Upstream's command, variables and script of a job, with a time limit."""
        command, environment, script = super().get_submit_cmd_env_stdin(cluster, worker)
        minutes = math.ceil(cluster.config.lifetime_seconds / 60)
        return [*command, f"--time={minutes}"], environment, script

    # Upstream joins a command's words with spaces into a line of the job's script, so a path's other characters would
    # mean something to the shell there.

    def get_scheduler_command(self, cluster: Any) -> list[str]:
        """The words of the scheduler's command, quoted for a shell."""
        return [shlex.quote(word) for word in super().get_scheduler_command(cluster)]

    def get_worker_command(self, cluster: Any, worker_name: str, scheduler_address: str | None = None) -> list[str]:
        """The words of a worker's command, quoted for a shell."""
        return [shlex.quote(word) for word in super().get_worker_command(cluster, worker_name, scheduler_address)]
