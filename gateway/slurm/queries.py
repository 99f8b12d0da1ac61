"""What the gateway asks SLURM itself, under its own account: squeue and sacct."""

import asyncio

from gateway.slurm import jobs, launcher


class CommandError(Exception):
    """SLURM did not answer, or not in time."""


async def listed(squeue: str) -> dict[str, jobs.Job]:
    """Id -> job, of all jobs of the gateway that SLURM remembers, in one call. Raises :class:`CommandError`.

    Upstream asks for jobs by number, to which squeue gives no list when the only one is unknown to it.
    """
    return jobs.parsed(
        await _answer(squeue, "--noheader", "--array", "--states=all", f"--name={jobs.NAME}", f"--format={jobs.FORMAT}")
    )


async def end_of(sacct: str, number: str) -> str | None:
    """How a job has ended, as accounting knows it, some seconds late; None if it does not. Raises no error."""
    try:
        answer = await _answer(
            sacct, "--noheader", "--allocations", "--parsable2", f"--jobs={number}", f"--format={jobs.END_FORMAT}"
        )
    except (CommandError, OSError):
        return None
    return jobs.end_of(answer)


async def _answer(command: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(command, *arguments),
        env=launcher.SLURM_ENVIRONMENT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), launcher.SLURM_SECONDS)
    except TimeoutError:
        process.kill()
        raise CommandError(f"{command} took longer than {launcher.SLURM_SECONDS} s") from None
    if process.returncode != 0:
        raise CommandError(f"{command}: {errors.decode(errors='replace').strip()[-500:]}")
    return output.decode(errors="replace")
