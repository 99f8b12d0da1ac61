"""What squeue says of jobs. Pure."""

from dataclasses import dataclass

NAME = "dask-gateway"
"""Of all jobs of the gateway: by it they are found, all in one call."""
FORMAT = "%i|%T|%r"
ENDED = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "RECONFIG_FAIL",
        "REVOKED",
        "TIMEOUT",
    }
)
"""States from which a job does not come back (``man squeue``, "JOB STATE CODES"); in all others it is alive.

Upstream takes any but four of them for the end, for example a job that is suspended or queued again.
"""


@dataclass(frozen=True)
class Job:
    """A job that squeue lists."""

    state: str
    reason: str
    """Why it is not running; ``None`` is SLURM's word for no reason."""

    @property
    def is_alive(self) -> bool:
        """Whether it runs or may run yet."""
        return self.state not in ENDED


def parsed(output: str) -> dict[str, Job]:
    """Id -> job, from what squeue prints with :data:`FORMAT`."""
    rows = (line.strip().split("|", 2) for line in output.splitlines() if line.strip())
    return {number: Job(state, reason) for number, state, reason in rows}


def why_not_started(job: Job | None, seconds: int, log: str) -> str:
    """What a user is told whose scheduler has not started within so many seconds."""
    beginning = f"The cluster did not start within {seconds} s: "
    if job is None or not job.is_alive:
        return f"{beginning}the scheduler's job has ended; its log is {log}."
    if job.state == "PENDING":
        return f"{beginning}the scheduler's job waits in SLURM's queue ({job.reason}). Try again later."
    return f"{beginning}the scheduler's job is {job.state}, but the scheduler does not answer; its log is {log}."
