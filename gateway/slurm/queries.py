"""Queries of SLURM under the gateway's own account: squeue and sacct."""

import asyncio

from gateway.slurm import jobs
from gateway.slurm.commands import SLURM_ENVIRONMENT, SLURM_SECONDS
from gateway.slurm.jobs import Owner


class CommandError(Exception):
    """A command of SLURM failed or ran into its timeout."""


async def listed(squeue: str) -> jobs.Queue:
    """List all jobs of the gateway's name that SLURM knows, by one call. Raises :class:`CommandError` or ``OSError``.

    Upstream lists jobs by id. Then squeue fails when it does not know the only id.
    """
    options = ("--array", "--states=all", f"--name={jobs.NAME}", f"--format={jobs.FORMAT}")
    output = await _output(squeue, "--noheader", *options)
    # In a thread: a user may have queued thousands of jobs of that name.
    return await asyncio.to_thread(jobs.parsed, output)


async def reason_of(squeue: str, number: str) -> str:
    """Return why one job is pending, in words of SLURM; raise no error."""
    try:
        return jobs.reason_of(await _of_one(squeue, number, jobs.REASON_FORMAT))
    except (CommandError, OSError):
        return "SLURM does not say why"


async def owner_of(squeue: str, number: str, release: str, staging_directory: str) -> Owner | None:
    """Return the owner of one job or array task as :func:`gateway.slurm.jobs.owner_of` does.

    Raises :class:`CommandError` or ``OSError``, also for a job that has ended long ago.
    """
    return jobs.owner_of(await _of_one(squeue, number, jobs.OWNER_FORMAT), release, staging_directory)


async def node_of(squeue: str, number: str, owner: Owner) -> str | None:
    """Return the node of a cluster's running job, or None. Raises :class:`CommandError` or ``OSError``."""
    return jobs.node_of(await _of_one(squeue, number, jobs.NODE_FORMAT), owner)


async def end_of(sacct: str, number: str) -> str | None:
    """Return how a job ended, as SLURM's accounting stores it; raise no error.

    None when accounting does not know it, or not yet: it is some seconds late.
    """
    try:
        output = await _output(
            sacct, "--noheader", "--allocations", "--parsable2", f"--jobs={number}", f"--format={jobs.END_FORMAT}"
        )
    except (CommandError, OSError):
        return None
    return jobs.end_of(output)


async def _of_one(squeue: str, number: str, fields: str) -> str:
    return await _output(squeue, "--noheader", f"--jobs={number}", f"--format={fields}")


async def _output(command: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(command, *arguments),
        env=SLURM_ENVIRONMENT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), SLURM_SECONDS)
    except TimeoutError:
        process.kill()
        raise CommandError(f"{command} took longer than {SLURM_SECONDS} s") from None
    if process.returncode != 0:
        raise CommandError(f"{command}: {errors.decode(errors='replace').strip()[-500:]}")
    return output.decode(errors="replace")
