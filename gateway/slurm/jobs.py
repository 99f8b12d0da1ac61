"""Jobs as squeue and sacct print them, and the clusters that they belong to. Pure.

Users choose the comment, the paths and parts of other fields of their jobs, and squeue prints them raw, line breaks
included. So lists of jobs have no such field, and a field with free text is asked of one job alone.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from dask_gateway_server.backends.db_base import Cluster

from gateway.service.termination import StartFailure, Termination
from gateway.slurm import cluster_folder
from gateway.slurm.commands import JOB_NAME

NAME = JOB_NAME
"""Name of all jobs of the gateway; one call of squeue lists them by it. Any user may give it to a job too."""
FORMAT = "%i|%T|%U"
"""Fields of a list of jobs: id, state, uid. SLURM alone decides what they contain."""
OWNER_FORMAT = "%U|%G|%u|%k|%Z"
"""Fields by which the owner of one job is found: uid, gid, account, comment, working directory."""
NODE_FORMAT = "%U|%T|%N"
REASON_FORMAT = "%r"
END_FORMAT = "State,ExitCode"
MOST_REASON = 120
"""Most characters of a pending job's reason that users read."""
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
ROW = re.compile(r"(?P<number>[0-9]{1,12}(_[0-9]{1,7})?)\|(?P<state>[A-Z_]{1,32})\|(?P<uid>[0-9]{1,10})", re.ASCII)
NODE_ROW = re.compile(r"(?P<uid>[0-9]{1,10})\|(?P<state>[A-Z_]{1,32})\|(?P<node>[A-Za-z0-9.-]{0,253})", re.ASCII)
OWNER_ROW = re.compile(
    r"(?P<uid>[0-9]{1,10})\|(?P<gid>[0-9]{1,10})\|(?P<username>[a-z][a-z0-9._-]{0,63})"
    r"\|(?P<comment>[a-z0-9-]{1,63})\|(?P<folder>/[^\s|]{1,4096})",
    re.ASCII,
)
EXIT_CODE = re.compile(r"[0-9]{1,3}:[0-9]{1,3}", re.ASCII)
CLUSTER = re.compile(r"[0-9a-f]{32}")
UNPRINTABLE = re.compile(r"[^ -~]")


@dataclass(frozen=True)
class Job:
    """A job that squeue lists."""

    state: str
    uid: int

    @property
    def is_alive(self) -> bool:
        """Whether the job runs or may run later."""
        return self.state not in ENDED


@dataclass(frozen=True)
class Queue:
    """The jobs that one call of squeue lists."""

    jobs: Mapping[str, Job]
    """Id of a job or of an array task -> the job."""
    dropped: int = 0
    """Number of lines that are not rows of :data:`FORMAT`."""

    def job_of(self, owner: "Owner", number: str) -> Job | None:
        """Return the job with an id that a cluster's record has; None when its user does not own the listed job."""
        job = self.jobs.get(number)
        return job if job is not None and job.uid == owner.uid else None

    def has_live(self, owner: "Owner", number: str) -> bool:
        """Return whether a cluster's job runs or may run later."""
        job = self.job_of(owner, number)
        return job is not None and job.is_alive


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


def parsed(output: str) -> Queue:
    """Parse what squeue prints with :data:`FORMAT`; drop each line that is not a row."""
    lines = [line for line in output.split("\n") if line]
    rows = [match for match in map(ROW.fullmatch, lines) if match is not None]
    return Queue({row["number"]: Job(row["state"], int(row["uid"])) for row in rows}, len(lines) - len(rows))


def reason_of(output: str) -> str:
    """Return a pending job's reason, from what squeue prints for it alone: printable ASCII of bounded length."""
    return UNPRINTABLE.sub("?", output.strip())[:MOST_REASON] or "unknown"


def node_of(output: str, owner: "Owner") -> str | None:
    """Return the node of a cluster's running job, from what squeue prints for it alone with :data:`NODE_FORMAT`.

    None when the job does not run, or belongs to another user.
    """
    match = NODE_ROW.fullmatch(output.strip("\n"))
    if match is None or (int(match["uid"]), match["state"]) != (owner.uid, "RUNNING"):
        return None
    return match["node"] or None


def owner_of(output: str, release: str, staging_directory: str) -> "Owner | None":
    """Return the owner of a job of this gateway, from what squeue prints for it alone with :data:`OWNER_FORMAT`.

    The job's working directory is its cluster's folder below the user's staging directory (``staging_directory``, a
    template). None for any other job. A user can imitate such a job, but only under the own uid.
    """
    match = OWNER_ROW.fullmatch(output.strip("\n"))
    if match is None or match["comment"] != release:
        return None
    cluster = match["folder"].rpartition("/")[2]
    staging = cluster_folder.staging_directory(staging_directory, match["username"])
    if not CLUSTER.fullmatch(cluster) or match["folder"] != cluster_folder.folder(staging, cluster):
        return None
    return Owner(cluster, match["username"], int(match["uid"]), int(match["gid"]))


def end_of(output: str) -> str | None:
    """Return how a job ended, from what sacct prints with :data:`END_FORMAT`; None when it has not ended.

    For example ``OUT_OF_MEMORY, exit code 0:125``. Words after the state, as in ``CANCELLED by 20001``, are left out.
    """
    for line in filter(None, map(str.strip, output.splitlines())):
        state, _, code = line.partition("|")
        if state.split(" ")[0] in ENDED and EXIT_CODE.fullmatch(code):
            return f"{state.split(' ')[0]}, exit code {code}"
    return None


def unrecorded(known: Mapping[str, Job], recorded: Collection[str]) -> dict[int, dict[str, list[str]]]:
    """Return the live jobs that no cluster record knows: uid -> id of the array or the job -> ids of its tasks.

    ``recorded`` holds the ids in the cluster records.
    """
    found: defaultdict[int, dict[str, list[str]]] = defaultdict(dict)
    for number, job in known.items():
        if job.state not in LEAVING and number not in recorded:
            found[job.uid].setdefault(number.partition("_")[0], []).append(number)
    return dict(found)


def arrays(numbers: Iterable[str]) -> list[str]:
    """Return the array of each array task, each once: scancel ends a whole array by one request."""
    return list(dict.fromkeys(number.partition("_")[0] for number in numbers))


def of_delay(job: Job | None, reason: str, seconds: int, log: str) -> Termination:
    """Return why a scheduler has not started within the start timeout of so many seconds.

    ``log`` is the path of the scheduler's log; ``job`` is None when squeue does not list the job. ``reason`` is that of
    a pending job.
    """
    cause, text = _cause(job, reason, log)
    return Termination(cause, f"The cluster did not start within {seconds} s: the scheduler's job {text}")


def _cause(job: Job | None, reason: str, log: str) -> tuple[StartFailure, str]:
    if job is None or not job.is_alive:
        state = "" if job is None else f" ({job.state})"
        return StartFailure.JOB_ENDED, f"has ended{state}; its log is {log}."
    if job.state == "PENDING":
        return StartFailure.QUEUE, f"waits in SLURM's queue ({reason}). Try again later."
    return StartFailure.NO_ANSWER, f"is {job.state}, but the scheduler does not answer; its log is {log}."
