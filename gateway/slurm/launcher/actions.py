"""The actions that a request may ask the launcher for: the closed list is :data:`ACTIONS`."""

import base64
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.as_user import preflight
from gateway.slurm.cluster_folder import PROGRAM, SCHEDULER_LOG, VARIABLES, WORKER_LOG
from gateway.slurm.commands import SLURM_ENVIRONMENT
from gateway.slurm.launcher import folders, slurm
from gateway.slurm.launcher.requests import Limits, RequestError, User

FILE_NAME = re.compile(r"[a-z][a-z.-]{0,30}")


def start(limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Prepare a cluster and submit its scheduler's ``job``: one call, because a call costs more than its work.

    Answers with the ``state`` of the environment, and with ``job`` as :func:`submit` does. When SLURM does not accept
    the job, the answer has no ``job``: the cluster is prepared, and the server can submit the job later. Raises
    :class:`gateway.as_user.preflight.RefusedError`.
    """
    state = _prepare(limits, user, request)
    try:
        submitted = submit(limits, user, {**request["job"], "cluster": request["cluster"]})
    except (RequestError, OSError, subprocess.TimeoutExpired):
        submitted = {}
    return {"state": state, **submitted}


def _prepare(limits: Limits, user: User, request: Mapping[str, Any]) -> list[int]:
    """Check the environment, make the cluster's folder and return the environment's state."""
    plan = preflight.decoded(request["plan"])
    files = {name: base64.b64decode(content) for name, content in request["files"].items()}
    if not all(FILE_NAME.fullmatch(name) for name in files):
        raise RequestError(f"names of files in a cluster's folder match {FILE_NAME.pattern}")
    preflight.check(plan, {**SLURM_ENVIRONMENT, **preflight.parsed(files[VARIABLES])})
    folders.make_staging(user)
    folders.remove_old_logs(user, limits.log_days)
    folders.make(user, request["cluster"], files)
    return _state_of(Path(plan.prefix))


def _state_of(environment: Path) -> list[int]:
    """Return when the environment's lists of packages were last modified, in nanoseconds since the epoch.

    It changes when packages are added, replaced or removed.
    """
    places = [environment / "conda-meta", *sorted(environment.glob("lib/python*/site-packages"))]
    return [place.stat().st_mtime_ns for place in places if place.is_dir()]


def imports(_limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Import Dask in the environment of a prepared cluster.

    Raises :class:`gateway.as_user.preflight.RefusedError`.
    """
    folder = user.folder(request["cluster"])
    variables = {**SLURM_ENVIRONMENT, **preflight.parsed((folder / VARIABLES).read_bytes())}
    preflight.check_imports(preflight.decoded(request["plan"]), variables, str(folder / PROGRAM))
    return {}


def submit(limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Submit a job or an array of jobs of a prepared cluster; answers with its id as ``job``."""
    cluster, log = request["cluster"], request["log"]
    names = (SCHEDULER_LOG.format(cluster), WORKER_LOG)
    if log not in names:
        raise RequestError(f"{log!r} is not a name of a log here; the names are {' and '.join(names)}")
    log_path = user.cluster_logs(cluster) / log
    return {"job": slurm.submit(limits.sbatch, request["script"], request["options"], user.folder(cluster), log_path)}


def cancel(limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Cancel jobs, and with ``remove`` remove the cluster's folder even when cancelling fails."""
    jobs: list[str] = request["jobs"]
    if not all(slurm.TASK_ID.fullmatch(job) for job in jobs):
        raise RequestError(f"ids of jobs match {slurm.TASK_ID.pattern}")
    try:
        if jobs:
            slurm.cancel(limits.scancel, jobs)
    finally:
        if request["remove"]:
            folders.remove(user.folder(request["cluster"]))
    return {}


def discard(_limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the folder and the logs of a cluster that did not start."""
    folders.discard(user, request["cluster"])
    return {}


ACTIONS: dict[str, Callable[[Limits, User, Mapping[str, Any]], dict[str, Any]]] = {
    "start": start,
    "imports": imports,
    "submit": submit,
    "cancel": cancel,
    "discard": discard,
}
