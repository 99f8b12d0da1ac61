"""What sbatch is told: the options and the script of a job. Pure."""

import math
import shlex
from collections.abc import Sequence

from dask_gateway_server.backends.jobqueue.slurm import slurm_format_memory

from gateway.site import JobPlacement, SlurmGateway
from gateway.slurm import jobs

TASK_NAME = "\0name of the task's worker"
"""Stands in a command for what differs between the tasks of an array."""


def options(
    slurm: SlurmGateway, placement: JobPlacement, cluster: str, *, cores: int, memory_bytes: int, lifetime_seconds: int
) -> dict[str, str]:
    """Long options of sbatch -> values."""
    wanted = {
        "job-name": jobs.NAME,
        "comment": jobs.comment(slurm.release, cluster),
        "account": slurm.account,
        "partition": placement.partition,
        "reservation": placement.reservation,
        "qos": placement.qos,
        "constraint": placement.constraint,
        "cpus-per-task": str(cores),
        "mem": slurm_format_memory(memory_bytes),
        "time": str(math.ceil(lifetime_seconds / 60)),
    }
    return {name: value for name, value in wanted.items() if value}


def array(size: int) -> dict[str, str]:
    """The option that makes an array of a job."""
    return {"array": f"0-{size - 1}"}


def script(placement: JobPlacement, command: Sequence[str], names: Sequence[str] = ()) -> str:
    """The script of a job, or of an array whose n-th task finds the n-th name in the place of :data:`TASK_NAME`.

    SLURM's accounting keeps it, so there must be nothing secret in it.
    """
    words = " ".join('"$1"' if word == TASK_NAME else shlex.quote(word) for word in command)
    lines = ["#!/bin/sh", *(f"#SBATCH {option}" for option in placement.extra_options)]
    if names:
        lines += [f"set -- {shlex.join(names)}", 'shift "$SLURM_ARRAY_TASK_ID"']
    return "\n".join([*lines, f"exec {words}", ""])
