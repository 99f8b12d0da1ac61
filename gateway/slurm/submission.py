"""What sbatch gets: the options and the script of a job. Pure."""

import math
import shlex
from collections.abc import Sequence
from typing import Any

from dask_gateway_server.backends.db_base import Cluster
from dask_gateway_server.backends.jobqueue.slurm import slurm_format_memory

from gateway.as_user import preflight
from gateway.site import JobPlacement, SlurmGateway
from gateway.slurm import cluster_folder, jobs

TASK_NAME = "\0name of the array task's worker"
"""Placeholder in a command for the worker's name, in which the tasks of an array differ."""


def scheduler_job(slurm: SlurmGateway, cluster: Cluster, folder: str, command: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of the launcher's ``submit`` for the scheduler's job.

    ``folder`` is the cluster's folder, ``command`` upstream's command of the scheduler.
    """
    return {
        "log": cluster_folder.SCHEDULER_LOG.format(cluster.name),
        "script": script(slurm.scheduler_jobs, preflight_command(slurm, cluster, folder, command)),
        "options": _options_of(slurm, slurm.scheduler_jobs, cluster, "scheduler"),
    }


def worker_jobs(
    slurm: SlurmGateway, cluster: Cluster, folder: str, command: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:
    """Return the arguments of the launcher's ``submit`` for an array with one task for each name of a worker.

    ``command`` is upstream's command of a worker whose name is :data:`TASK_NAME`.
    """
    return {
        "log": cluster_folder.WORKER_LOG,
        "script": script(slurm.worker_jobs, preflight_command(slurm, cluster, folder, command), names),
        "options": _options_of(slurm, slurm.worker_jobs, cluster, "worker") | array(len(names)),
    }


def preflight_command(slurm: SlurmGateway, cluster: Cluster, folder: str, command: Sequence[str]) -> list[str]:
    """Return the command that runs the preflight, which becomes ``command`` in the user's interpreter."""
    plan = preflight.decoded(cluster.config.plan)._replace(variables=f"{folder}/{cluster_folder.VARIABLES}")
    # The node's interpreter runs also where the user's does not start. Isolated and without site-packages: no file of
    # the user changes what runs before the user's variables are set.
    return [slurm.node_python, "-IS", f"{folder}/{cluster_folder.PROGRAM}", "start", plan.encoded(), *command]


def _options_of(slurm: SlurmGateway, placement: JobPlacement, cluster: Cluster, role: str) -> dict[str, str]:
    return options(
        slurm,
        placement,
        cores=cluster.config[f"{role}_cores"],
        memory_bytes=cluster.config[f"{role}_memory"],
        lifetime_seconds=cluster.config.lifetime_seconds,
    )


def options(
    slurm: SlurmGateway, placement: JobPlacement, *, cores: int, memory_bytes: int, lifetime_seconds: int
) -> dict[str, str]:
    """Return the options of sbatch for a job: long option -> value."""
    found = {
        "job-name": jobs.NAME,
        # For administrators, and for the watcher of jobs: it tells gateways apart that use one SLURM.
        "comment": slurm.release,
        "account": slurm.account,
        "partition": placement.partition,
        "reservation": placement.reservation,
        "qos": placement.qos,
        "constraint": placement.constraint,
        "cpus-per-task": str(cores),
        "mem": slurm_format_memory(memory_bytes),
        "time": str(math.ceil(lifetime_seconds / 60)),
    }
    return {name: value for name, value in found.items() if value}


def array(size: int) -> dict[str, str]:
    """Return the option of sbatch that makes a job an array of so many tasks."""
    return {"array": f"0-{size - 1}"}


def script(placement: JobPlacement, command: Sequence[str], names: Sequence[str] = ()) -> str:
    """Return the script of a job, or of an array whose n-th task has the n-th name in the place of :data:`TASK_NAME`.

    SLURM's accounting stores the script, so it contains no secret.
    """
    words = " ".join('"$1"' if word == TASK_NAME else shlex.quote(word) for word in command)
    lines = ["#!/bin/sh", *(f"#SBATCH {option}" for option in placement.extra_options)]
    if names:
        lines += [f"set -- {shlex.join(names)}", 'shift "$SLURM_ARRAY_TASK_ID"']
    return "\n".join([*lines, f"exec {words}", ""])
