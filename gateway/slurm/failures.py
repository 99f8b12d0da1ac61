"""Why clusters do not start on SLURM, as metrics count it. Pure."""

from gateway.ends import StartFailure
from gateway.errors import Refusal
from gateway.slurm.jobs import Job


def of_delay(job: Job | None) -> StartFailure:
    """Of a scheduler that has not started in time; see :func:`gateway.slurm.jobs.why_not_started`."""
    if job is None or not job.is_alive:
        return StartFailure.JOB_ENDED
    return StartFailure.QUEUE if job.state == "PENDING" else StartFailure.NO_ANSWER


def of_error(error: BaseException) -> StartFailure:
    """Of what the launcher was asked to prepare or to check."""
    if isinstance(error, Refusal):
        return StartFailure.PREFLIGHT
    return StartFailure.LAUNCHER if isinstance(error, Exception) else StartFailure.OTHER
