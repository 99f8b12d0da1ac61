"""The actions that a request may ask the launcher for: the closed list is :data:`ACTIONS`.

An action that is repeated, or whose answer the server never read, does no harm: ``submit`` finds the scheduler's job
that an earlier call submitted, ``cancel`` and ``discard`` find the jobs of a cluster of which the server knows none.
"""

import base64
import re
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from gateway.slurm.cluster_folder import SCHEDULER_LOG, WORKER_LOG
from gateway.slurm.launcher import folders, slurm
from gateway.slurm.launcher.requests import Limits, RequestError, User

FILE_NAME = re.compile(r"[a-z][a-z.-]{0,30}")


def start(limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Make a cluster's folder and submit its scheduler's ``job``: one call, because a call costs more than its work.

    Answers with ``job`` as :func:`submit` does. When SLURM does not accept the job, the answer has no ``job``: the
    folder is made, and the server can submit the job later. Raises
    :class:`gateway.as_user.preflight.RefusedError`.
    """
    files = {name: base64.b64decode(content) for name, content in request["files"].items()}
    if not all(FILE_NAME.fullmatch(name) for name in files):
        raise RequestError(f"names of files in a cluster's folder match {FILE_NAME.pattern}")
    folders.make_staging(user)
    folders.remove_old_logs(user, limits.log_days)
    folders.make(user, request["cluster"], files)
    try:
        return _submitted(limits, user, {**request["job"], "cluster": request["cluster"]})
    except (RequestError, OSError, subprocess.TimeoutExpired):
        return {}


def submit(limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Submit a job or an array of jobs of a cluster; answers with its id as ``job``.

    A scheduler's job is submitted once: a call that was given up may have submitted it already. Raises
    :class:`RequestError` for a cluster without a folder: only :func:`start`, which needs the user's token, makes one.
    """
    folders.check_made(user, request["cluster"])
    if request["log"] == SCHEDULER_LOG.format(request["cluster"]):
        found = slurm.jobs_of(limits.squeue, user.uid, user.folder(request["cluster"]))
        if found:
            return {"job": found[0]}
    return _submitted(limits, user, request)


def _submitted(limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    cluster, log = request["cluster"], request["log"]
    names = (SCHEDULER_LOG.format(cluster), WORKER_LOG)
    if log not in names:
        raise RequestError(f"{log!r} is not a name of a log here; the names are {' and '.join(names)}")
    log_path = user.cluster_logs(cluster) / log
    return {"job": slurm.submit(limits.sbatch, request["script"], request["options"], user.folder(cluster), log_path)}


def cancel(limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Cancel jobs of a cluster, and with ``remove`` remove the cluster's folder even when cancelling fails.

    With ``remove`` and no ``jobs``, cancel all jobs that belong to the cluster. Answers with the ids of all jobs that
    do not belong to it, or have ended, as ``skipped``.
    """
    jobs: list[str] = request["jobs"]
    if not all(slurm.TASK_ID.fullmatch(job) for job in jobs):
        raise RequestError(f"ids of jobs match {slurm.TASK_ID.pattern}")
    folder = user.folder(request["cluster"])
    try:
        if request["remove"] and not jobs:
            jobs = slurm.jobs_of(limits.squeue, user.uid, folder)
        arrays = dict.fromkeys(job.partition("_")[0] for job in jobs)
        own = {array for array in arrays if slurm.belongs(limits.squeue, array, user.uid, folder)}
        cancelled = [job for job in jobs if job.partition("_")[0] in own]
        if cancelled:
            slurm.cancel(limits.scancel, cancelled)
    finally:
        if request["remove"]:
            folders.remove(folder)
    return {"skipped": [array for array in arrays if array not in own]}


def discard(limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Cancel the jobs and remove the folder and the logs of a cluster that did not start."""
    cancel(limits, user, {**request, "jobs": [], "remove": True})
    folders.discard(user, request["cluster"])
    return {}


ACTIONS: dict[str, Callable[[Limits, User, Mapping[str, Any]], dict[str, Any]]] = {
    "start": start,
    "submit": submit,
    "cancel": cancel,
    "discard": discard,
}
NEED_PRESENCE = frozenset({"start"})
"""Actions that need the user's token. The others act only on what a start has made."""
