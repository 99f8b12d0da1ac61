"""The commands of SLURM that the launcher runs as a user: sbatch, squeue and scancel."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from gateway.slurm.commands import JOB_NAME, SLURM_ENVIRONMENT, SLURM_SECONDS
from gateway.slurm.launcher.requests import RequestError

JOB_ID = re.compile(r"[0-9]{1,12}")
TASK_ID = re.compile(r"[0-9]{1,12}(_[0-9]{1,7})?")
"""Id of a job, or of an array task."""
JOB_OPTIONS = frozenset(
    {
        "account",
        "array",
        "comment",
        "constraint",
        "cpus-per-task",
        "job-name",
        "mem",
        "partition",
        "qos",
        "reservation",
        "time",
    }
)
"""Options of sbatch that a request may give. The launcher alone decides where the job runs and writes."""
ENDED = re.compile(r"Invalid job id|already completing or completed", re.IGNORECASE)
"""What scancel and squeue write about jobs that have ended."""


def submit(sbatch: str, script: str, options: Mapping[str, str], folder: Path, log: Path) -> str:
    """Submit a job or an array of jobs and return its id. Raises :class:`RequestError` when SLURM does not accept it.

    ``folder`` is the job's working directory, ``log`` its output.
    """
    unknown = set(options) - JOB_OPTIONS
    if unknown:
        raise RequestError(f"the launcher does not pass these options to sbatch: {', '.join(sorted(unknown))}")
    command = [
        *(sbatch, "--parsable", "--export=ALL", "--no-requeue", f"--chdir={folder}", f"--output={log}"),
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    ended = _run(command, script)
    if ended.returncode != 0:
        _fail(sbatch, ended)
    job = ended.stdout.strip().split(";")[0]
    if not JOB_ID.fullmatch(job):
        raise RequestError(f"sbatch answers {ended.stdout!r} instead of a job id")
    return job


def jobs_of(squeue: str, uid: int, folder: Path) -> list[str]:
    """Return the ids of a user's jobs and arrays that belong to the cluster with this folder.

    Raises :class:`RequestError` when SLURM does not answer.
    """
    numbers = dict.fromkeys(_listed(squeue, [f"--user={uid}", "--format=%F"]))
    return [number for number in numbers if JOB_ID.fullmatch(number) and belongs(squeue, number, uid, folder)]


def belongs(squeue: str, number: str, uid: int, folder: Path) -> bool:
    """Return whether a job or an array is a user's, has our name and has this folder as working directory.

    One call asks for one job: a working directory may contain any character, and alone it can't look like another
    job's. A job that has ended belongs to no cluster. Raises :class:`RequestError` when SLURM does not answer.
    """
    places = _listed(squeue, [f"--jobs={number}", f"--user={uid}", "--format=%Z"])
    return set(places) == {str(folder)}


def _listed(squeue: str, options: Sequence[str]) -> list[str]:
    """Return the lines that squeue prints about jobs of our name."""
    ended = _run([squeue, "--noheader", f"--name={JOB_NAME}", *options])
    if ended.returncode != 0 and not ENDED.search(ended.stderr):
        _fail(squeue, ended)
    return [line.strip() for line in ended.stdout.splitlines() if line.strip()]


def cancel(scancel: str, jobs: Sequence[str]) -> None:
    """Cancel jobs, of which some may have ended. Raises :class:`RequestError` when SLURM does not cancel them."""
    ended = _run([scancel, *jobs])
    complaints = [line for line in ended.stderr.splitlines() if line.strip()]
    have_ended = complaints and all(ENDED.search(line) for line in complaints)
    if ended.returncode != 0 and not have_ended:
        _fail(scancel, ended)


def _fail(command: str, ended: subprocess.CompletedProcess[str]) -> NoReturn:
    raise RequestError(f"{command} ended with exit code {ended.returncode}: {ended.stderr.strip()[-500:]}")


def _run(command: Sequence[str], standard_input: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=standard_input,
        env=SLURM_ENVIRONMENT,
        cwd="/",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SLURM_SECONDS,
        check=False,
    )
