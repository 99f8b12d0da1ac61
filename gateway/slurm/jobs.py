"""Jobs as squeue and sacct print them, and the clusters that they belong to. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from dask_gateway_server.backends.db_base import Cluster

from gateway.service.termination import StartFailure, Termination
from gateway.slurm.commands import JOB_NAME

NAME = JOB_NAME
"""One call of squeue lists all jobs of the gateway by it."""
FORMAT = "%i|%T|%u|%U|%G|%k|%r"
END_FORMAT = "State,ExitCode"
MOST_TASKS = 1000
"""Most tasks of one array: SLURM's default of MaxArraySize is 1001, one more than the largest index
(``man slurm.conf``)."""
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
"""States of a job that has ended (``man squeue``, "JOB STATE CODES"); in all other states it is alive.

Upstream takes a job as ended in all states but four, for example when it is suspended or requeued.
"""
LEAVING = ENDED | {"COMPLETING"}
"""States in which a job needs no cancelling."""
COMMENT = re.compile(r"(?P<release>[a-z0-9-]+)/(?P<cluster>[0-9a-f]{32})")


@dataclass(frozen=True)
class Job:
    """A job that squeue lists."""

    state: str
    reason: str
    """Why the job is pending; SLURM's word for no reason is ``None``."""
    user: str = ""
    uid: int = 0
    gid: int = 0
    comment: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether the job runs or may run later."""
        return self.state not in ENDED


@dataclass(frozen=True, order=True)
class Owner:
    """The cluster that jobs belong to, and the account of its user."""

    cluster: str
    username: str
    uid: int
    gid: int

    @classmethod
    def of(cls, cluster: Cluster) -> Self:
        """Return the owner of a cluster's jobs, from the cluster's record."""
        return cls(cluster.name, cluster.username, cluster.config.uid, cluster.config.gid)


def comment(release: str, cluster: str) -> str:
    """Return the comment of a cluster's jobs.

    By it, this gateway recognises a job as its own even when no cluster record knows the job.
    """
    return f"{release}/{cluster}"


def parsed(output: str) -> dict[str, Job]:
    """Parse what squeue prints with :data:`FORMAT`: id -> job."""
    found = {}
    for line in filter(None, map(str.strip, output.splitlines())):
        number, state, user, uid, gid, noted, reason = line.split("|", 6)
        found[number] = Job(state, reason, user, int(uid), int(gid), noted)
    return found


def end_of(output: str) -> str | None:
    """Return how a job ended, from what sacct prints with :data:`END_FORMAT`; None when it has not ended.

    For example ``OUT_OF_MEMORY, exit code 0:125``. Words after the state, as in ``CANCELLED by 20001``, are left out.
    """
    for line in filter(None, map(str.strip, output.splitlines())):
        state, _, code = line.partition("|")
        if state.split(" ")[0] in ENDED:
            return f"{state.split(' ')[0]}, exit code {code}"
    return None


def orphans(
    known: Mapping[str, Job], recorded: Collection[str], submitting: Collection[str], release: str
) -> dict[Owner, list[str]]:
    """Return this gateway's live jobs that no cluster record knows: owner -> ids of jobs.

    A gateway that is killed after sbatch and before it stores the job's id leaves an orphan. ``recorded`` holds the ids
    in the cluster records. Clusters in ``submitting`` are skipped: their jobs are not recorded yet.
    """
    found: dict[Owner, list[str]] = {}
    for number, job in known.items():
        match = COMMENT.fullmatch(job.comment)
        if match is None or match["release"] != release or match["cluster"] in submitting:
            continue
        if job.state not in LEAVING and number not in recorded:
            found.setdefault(Owner(match["cluster"], job.user, job.uid, job.gid), []).append(number)
    return found


def arrays(numbers: Iterable[str]) -> list[str]:
    """Return the array of each array task, each once: scancel ends a whole array by one request."""
    return list(dict.fromkeys(number.partition("_")[0] for number in numbers))


def of_delay(job: Job | None, seconds: int, log: str) -> Termination:
    """Return why a scheduler has not started within the start timeout of so many seconds.

    ``log`` is the path of the scheduler's log; ``job`` is None when squeue does not list the job.
    """
    cause, text = _cause(job, log)
    return Termination(cause, f"The cluster did not start within {seconds} s: the scheduler's job {text}")


def _cause(job: Job | None, log: str) -> tuple[StartFailure, str]:
    if job is None or not job.is_alive:
        state = "" if job is None else f" ({job.state})"
        return StartFailure.JOB_ENDED, f"has ended{state}; its log is {log}."
    if job.state == "PENDING":
        return StartFailure.QUEUE, f"waits in SLURM's queue ({job.reason}). Try again later."
    return StartFailure.NO_ANSWER, f"is {job.state}, but the scheduler does not answer; its log is {log}."
