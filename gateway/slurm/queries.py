"""Queries of SLURM under the gateway's own account: squeue and sacct."""

import asyncio

from gateway.slurm import jobs
from gateway.slurm.commands import SLURM_ENVIRONMENT, SLURM_SECONDS


class CommandError(Exception):
    """A command of SLURM failed or ran into its timeout."""


async def listed(squeue: str) -> dict[str, jobs.Job]:
    """List all jobs of the gateway that SLURM knows, by one call: id -> job. Raises :class:`CommandError`.

    Upstream lists jobs by id. Then squeue fails when it does not know the only id.
    """
    return jobs.parsed(
        await _output(squeue, "--noheader", "--array", "--states=all", f"--name={jobs.NAME}", f"--format={jobs.FORMAT}")
    )


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
