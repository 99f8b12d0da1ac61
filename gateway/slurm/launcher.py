"""What the SLURM gateway does as a user: a closed list of actions.

Run by ``sudo`` and ``python -I -m gateway.slurm.launcher``. Standard library only, and little of it, because each call
pays for what it imports. A request is JSON on standard input, the answer JSON on standard output, in every case:
``{"ok": true, ...}``, ``{"ok": false, "refusal": text}`` for the user's eyes, or ``{"ok": false, "error": text}``. What
limits it is a file that only root writes: :data:`CONFIGURATION`.
"""

import base64
import contextlib
import json
import os
import pwd
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gateway.as_user import preflight

CONFIGURATION = Path("/etc/dask-gateway/launcher.json")
CLUSTER_NAME = re.compile(r"[0-9a-f]{32}")
JOB_ID = re.compile(r"[0-9]{1,12}")
TASK_ID = re.compile(r"[0-9]{1,12}(_[0-9]{1,7})?")
"""A job, or a task of an array."""
FILE_NAME = re.compile(r"[a-z][a-z.-]{0,30}")
LOG_NAME = re.compile(r"dask-(scheduler-[0-9a-f]{32}|worker-%A_%a)\.log")
"""With what sbatch puts for the numbers of an array and of its task."""
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
"""Options of sbatch that a request may give; where the job runs and writes is decided here."""
SLURM_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
"""All that sbatch and scancel have, and so all that SLURM's accounting sees of a job's environment."""
GONE = re.compile(r"Invalid job id|already completing or completed", re.IGNORECASE)
"""What scancel says of jobs that are over."""
SLURM_SECONDS = 60
DAY_SECONDS = 86400
PROGRAM = "preflight.py"
PRELOAD = "preload.py"
VARIABLES = "variables"
"""Names in a cluster's folder; the programs have them in the package too."""


class RequestError(Exception):
    """A request that this program does not do."""


class Limits(NamedTuple):
    """What only root decides."""

    minimum_uid: int
    minimum_gid: int
    staging_directory: str
    """Template with ``{username}``."""
    log_days: int
    sbatch: str
    scancel: str


class User(NamedTuple):
    """Who runs this."""

    name: str
    staging: Path
    """The folder of all clusters of this user."""

    def folder(self, cluster: str) -> Path:
        """A cluster's folder: gone when the cluster is."""
        return self.staging / cluster

    def logs(self, cluster: str) -> Path:
        """Where a cluster's logs are, when it is gone too."""
        return self.staging / "logs" / cluster


def checked_user(limits: Limits, request: Mapping[str, Any]) -> User:
    """The user, if it is the one that the gateway means, and none of the system's. Raises :class:`RequestError`."""
    uid, gid = os.getuid(), os.getgid()
    if uid < max(limits.minimum_uid, 1) or gid < max(limits.minimum_gid, 1):
        raise RequestError(f"uid {uid} and gid {gid} are a system account's")
    if (uid, gid) != (request.get("uid"), request.get("gid")):
        raise RequestError(
            f"this machine gives the account the uid {uid} and the gid {gid}, the directory gives it"
            f" {request.get('uid')} and {request.get('gid')}"
        )
    name = pwd.getpwuid(uid).pw_name
    return User(name, Path(limits.staging_directory.format(username=name)))


def start(limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Prepare a cluster and submit its scheduler's ``job``, in one call, because a call costs more than what it does.

    Answers with ``state``, of the environment, and with ``job`` as :func:`submit` does, unless SLURM does not take it:
    then the cluster is prepared, and the job can be submitted later. Raises :class:`preflight.RefusedError`.
    """
    state = _prepare(limits, user, request)
    try:
        submitted = submit(limits, user, {**request["job"], "cluster": request["cluster"]})
    except (RequestError, OSError, subprocess.TimeoutExpired):
        submitted = {}
    return {"state": state, **submitted}


def _prepare(limits: Limits, user: User, request: Mapping[str, Any]) -> list[int]:
    """Check the environment and make the cluster's folder; returns the environment's state."""
    plan = preflight.decoded(request["plan"])
    files = {name: base64.b64decode(content) for name, content in request["files"].items()}
    if not all(FILE_NAME.fullmatch(name) for name in files):
        raise RequestError("a file has a name of another kind")
    preflight.check(plan, {**SLURM_ENVIRONMENT, **preflight.parsed(files[VARIABLES])})
    _private_directory(user)
    _forget_old_logs(limits, user)
    folder = user.folder(request["cluster"])
    folder.mkdir(mode=0o700)
    try:
        user.logs(request["cluster"]).mkdir(mode=0o700, parents=True)
        for name, content in files.items():
            _write(folder / name, content)
        # By its file alone: importing the preload costs more than the rest of a call.
        for name in (PROGRAM, *preflight.COMPANIONS, PRELOAD):
            _write(folder / name, Path(preflight.__file__).with_name(name).read_bytes())
    except BaseException:
        discard(limits, user, request)
        raise
    return _state_of(Path(plan.prefix))


def _state_of(environment: Path) -> list[int]:
    """Changes when packages are added, replaced or removed: when these were last modified, in nanoseconds."""
    places = [environment / "conda-meta", *sorted(environment.glob("lib/python*/site-packages"))]
    return [place.stat().st_mtime_ns for place in places if place.is_dir()]


def _private_directory(user: User) -> None:
    try:
        user.staging.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise preflight.RefusedError(
            f"The gateway needs {user.staging} for your clusters, and can't make it: {error.strerror}."
            " Ask the administrators for a directory of yours there."
        ) from error


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)


def _forget_old_logs(limits: Limits, user: User) -> None:
    oldest = time.time() - limits.log_days * DAY_SECONDS
    logs = user.staging / "logs"
    for folder in logs.iterdir() if logs.is_dir() else ():
        if CLUSTER_NAME.fullmatch(folder.name) and folder.lstat().st_mtime < oldest:
            with contextlib.suppress(OSError):
                _remove(folder)


def imports(_limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Import Dask in the environment of a prepared cluster. Raises :class:`preflight.RefusedError`."""
    folder = user.folder(request["cluster"])
    variables = {**SLURM_ENVIRONMENT, **preflight.parsed((folder / VARIABLES).read_bytes())}
    preflight.check_imports(preflight.decoded(request["plan"]), variables, str(folder / PROGRAM))
    return {}


def submit(limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Submit a job or an array of jobs of a prepared cluster; answers with ``job``, its number."""
    options: dict[str, str] = request["options"]
    unknown = set(options) - JOB_OPTIONS
    if unknown or not LOG_NAME.fullmatch(request["log"]):
        raise RequestError(f"no options of a job here: {', '.join(sorted(unknown)) or request['log']}")
    folder = user.folder(request["cluster"])
    command = [
        *(limits.sbatch, "--parsable", "--export=ALL", "--no-requeue", f"--chdir={folder}"),
        f"--output={user.logs(request['cluster']) / request['log']}",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    answer = _run(command, standard_input=request["script"])
    job = answer.strip().split(";")[0]
    if not JOB_ID.fullmatch(job):
        raise RequestError(f"sbatch answers {answer!r} instead of a job's number")
    return {"job": job}


def cancel(limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Cancel jobs, and with ``remove`` remove the cluster's folder, whatever the state of either."""
    jobs: list[str] = request["jobs"]
    if not all(TASK_ID.fullmatch(job) for job in jobs):
        raise RequestError("a job's number is none")
    try:
        if jobs:
            _cancel([limits.scancel, *jobs])
    finally:
        if request["remove"]:
            _remove(user.folder(request["cluster"]))
    return {}


def discard(_limits: Limits, user: User, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove all of a cluster that never was one: its folder and its logs."""
    _remove(user.folder(request["cluster"]))
    _remove(user.logs(request["cluster"]))
    return {}


def _cancel(command: Sequence[str]) -> None:
    ended = _ended(command)
    complaints = [line for line in ended.stderr.splitlines() if line.strip()]
    are_gone = complaints and all(GONE.search(line) for line in complaints)
    if ended.returncode != 0 and not are_gone:
        raise RequestError(f"{command[0]} ended with exit code {ended.returncode}: {ended.stderr.strip()[-500:]}")


def _remove(folder: Path) -> None:
    # It imports what costs more than most actions, which remove nothing.
    import shutil  # noqa: PLC0415

    if folder.exists():
        shutil.rmtree(folder)


def _run(command: Sequence[str], standard_input: str = "") -> str:
    ended = _ended(command, standard_input)
    if ended.returncode != 0:
        raise RequestError(f"{command[0]} ended with exit code {ended.returncode}: {ended.stderr.strip()[-500:]}")
    return ended.stdout


def _ended(command: Sequence[str], standard_input: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=standard_input,
        env=SLURM_ENVIRONMENT,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=SLURM_SECONDS,
        check=False,
    )


ACTIONS: dict[str, Callable[[Limits, User, Mapping[str, Any]], dict[str, Any]]] = {
    "start": start,
    "imports": imports,
    "submit": submit,
    "cancel": cancel,
    "discard": discard,
}


def answer(configuration: Path, text: str) -> dict[str, Any]:
    """Do what a request asks for."""
    try:
        limits = Limits(**json.loads(configuration.read_text()))
        request = json.loads(text)
        if request.get("action") not in ACTIONS:
            raise RequestError(f"actions are {', '.join(ACTIONS)}")
        if not CLUSTER_NAME.fullmatch(request.get("cluster", "")):
            raise RequestError("a cluster's name is needed")
        user = checked_user(limits, request)
        return {"ok": True, **ACTIONS[request["action"]](limits, user, request)}
    except preflight.RefusedError as refusal:
        return {"ok": False, "refusal": str(refusal)}
    except Exception as error:  # noqa: BLE001 - the gateway reads an answer in every case
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answer the request on standard input."""
    os.umask(0o077)
    json.dump(answer(CONFIGURATION, sys.stdin.read()), sys.stdout)


if __name__ == "__main__":
    main()
