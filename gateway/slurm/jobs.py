"""What SLURM says of jobs, and which of them are whose. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from gateway.service.termination import StartFailure, Termination

NAME = "dask-gateway"
"""Of all jobs of the gateway: by it they are found, all in one call."""
FORMAT = "%i|%T|%u|%U|%G|%k|%r"
END_FORMAT = "State,ExitCode"
MOST_TASKS = 1000
"""In one array: SLURM's default of MaxArraySize is 1001, one more than the greatest index (``man slurm.conf``)."""
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
LEAVING = ENDED | {"COMPLETING"}
"""States in which there is nothing to cancel."""
COMMENT = re.compile(r"(?P<release>[a-z0-9-]+)/(?P<cluster>[0-9a-f]{32})")


@dataclass(frozen=True)
class Job:
    """A job that squeue lists."""

    state: str
    reason: str
    """Why it is not running; ``None`` is SLURM's word for no reason."""
    user: str = ""
    uid: int = 0
    gid: int = 0
    comment: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it runs or may run yet."""
        return self.state not in ENDED


@dataclass(frozen=True, order=True)
class Owner:
    """Whose jobs these are: a cluster and its user."""

    cluster: str
    username: str
    uid: int
    gid: int


def comment(release: str, cluster: str) -> str:
    """By what a job is known as a cluster's, and as no other gateway's, even when the gateway has forgotten it."""
    return f"{release}/{cluster}"


def parsed(output: str) -> dict[str, Job]:
    """Id -> job, from what squeue prints with :data:`FORMAT`."""
    found = {}
    for line in filter(None, map(str.strip, output.splitlines())):
        number, state, user, uid, gid, noted, reason = line.split("|", 6)
        found[number] = Job(state, reason, user, int(uid), int(gid), noted)
    return found


def end_of(output: str) -> str | None:
    """How a job has ended, from what sacct prints with :data:`END_FORMAT`; None while it has not.

    For example ``OUT_OF_MEMORY, exit code 0:125``; what follows a state is left out (``CANCELLED by 20001``).
    """
    for line in filter(None, map(str.strip, output.splitlines())):
        state, _, code = line.partition("|")
        if state.split(" ")[0] in ENDED:
            return f"{state.split(' ')[0]}, exit code {code}"
    return None


def orphans(
    known: Mapping[str, Job], remembered: Collection[str], submitting: Collection[str], release: str
) -> dict[Owner, list[str]]:
    """Owner -> jobs that live and that the gateway does not remember, though they are its own.

    That happens when it is killed between a submission and its note of it. Clusters that are submitting are left out.
    """
    found: dict[Owner, list[str]] = {}
    for number, job in known.items():
        match = COMMENT.fullmatch(job.comment)
        if match is None or match["release"] != release or match["cluster"] in submitting:
            continue
        if job.state not in LEAVING and number not in remembered:
            found.setdefault(Owner(match["cluster"], job.user, job.uid, job.gid), []).append(number)
    return found


def arrays(numbers: Iterable[str]) -> list[str]:
    """The arrays that tasks belong to, each once: scancel ends each by one request, however many its tasks."""
    return list(dict.fromkeys(number.partition("_")[0] for number in numbers))


def of_delay(job: Job | None, seconds: int, log: str) -> Termination:
    """Why a scheduler has not started within so many seconds."""
    cause, text = _cause(job, log)
    return Termination(cause, f"The cluster did not start within {seconds} s: the scheduler's job {text}")


def _cause(job: Job | None, log: str) -> tuple[StartFailure, str]:
    if job is None or not job.is_alive:
        state = "" if job is None else f" ({job.state})"
        return StartFailure.JOB_ENDED, f"has ended{state}; its log is {log}."
    if job.state == "PENDING":
        return StartFailure.QUEUE, f"waits in SLURM's queue ({job.reason}). Try again later."
    return StartFailure.NO_ANSWER, f"is {job.state}, but the scheduler does not answer; its log is {log}."
