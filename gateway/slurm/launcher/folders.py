"""The files that the launcher writes and removes: cluster folders and logs."""

import contextlib
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path

from gateway.as_user import preflight
from gateway.slurm.cluster_folder import PRELOAD, PROGRAM
from gateway.slurm.launcher.requests import CLUSTER_NAME, RequestError, User

PROGRAMS = Path(preflight.__file__).parent
"""Directory of the programs that each cluster folder gets a copy of."""
DAY_SECONDS = 86400


def make(user: User, cluster: str, files: Mapping[str, bytes]) -> None:
    """Make a cluster's folder with these files and the programs, and the directory for its logs.

    Leaves neither when it fails. Raises ``FileExistsError`` when the folder exists.
    """
    folder = user.folder(cluster)
    folder.mkdir(mode=0o700)
    try:
        user.cluster_logs(cluster).mkdir(mode=0o700, parents=True)
        for name, content in files.items():
            _write(folder / name, content)
        # Copied as a file: importing the preload costs more than the rest of a call.
        for name in (PROGRAM, *preflight.COMPANIONS, PRELOAD):
            _write(folder / name, (PROGRAMS / name).read_bytes())
    except BaseException:
        discard(user, cluster)
        raise


def make_staging(user: User) -> None:
    """Make the user's staging directory unless it exists.

    Raises :class:`gateway.as_user.preflight.RefusedError` when the user may not make it, and for a link or a directory
    of another account in its place.
    """
    try:
        user.staging.mkdir(mode=0o700, exist_ok=True)
        if _is_directory_of(user.uid, user.staging):
            user.staging.chmod(0o700)
            return
    except OSError as error:
        raise preflight.RefusedError(
            f"The gateway needs {user.staging} for your clusters, and can't make it: {error.strerror}."
            " Ask the administrators for a directory of yours there."
        ) from error
    raise preflight.RefusedError(
        f"The gateway needs {user.staging} for your clusters, and it is not a directory of yours: move it away."
    )


def check_made(user: User, cluster: str) -> None:
    """Check that a cluster's folder is there, and the user's own. Raises :class:`RequestError` otherwise."""
    try:
        is_made = all(_is_directory_of(user.uid, place) for place in (user.staging, user.folder(cluster)))
    except FileNotFoundError:
        is_made = False
    if not is_made:
        raise RequestError(f"the cluster {cluster} has no folder of the user: it was not started, or has ended")


def _is_directory_of(uid: int, place: Path) -> bool:
    """Return whether a place is an account's directory, and no link. Raises ``OSError``."""
    found = place.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid


def discard(user: User, cluster: str) -> None:
    """Remove the folder and the logs of a cluster that did not start."""
    remove(user.folder(cluster))
    remove(user.cluster_logs(cluster))


def remove(folder: Path) -> None:
    """Remove a directory, if it exists."""
    # Importing shutil costs more than most actions, which remove nothing.
    import shutil  # noqa: PLC0415

    if folder.exists():
        shutil.rmtree(folder)


def remove_old_logs(user: User, days: int) -> None:
    """Remove the logs of clusters whose log directory has not changed for so many days."""
    oldest = time.time() - days * DAY_SECONDS
    for folder in user.logs.iterdir() if user.logs.is_dir() else ():
        if CLUSTER_NAME.fullmatch(folder.name) and folder.lstat().st_mtime < oldest:
            with contextlib.suppress(OSError):
                remove(folder)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
