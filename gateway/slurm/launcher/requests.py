"""Limits of the launcher, the account that runs it, and the checks of a request."""

import json
import os
import pwd
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gateway.slurm import cluster_folder

CONFIGURATION = Path("/etc/dask-gateway/launcher.json")
CLUSTER_NAME = re.compile(r"[0-9a-f]{32}")


class RequestError(Exception):
    """The launcher does not do what the request asks for."""


class Limits(NamedTuple):
    """What root alone decides, by :data:`CONFIGURATION`."""

    minimum_uid: int
    minimum_gid: int
    staging_directory: str
    """Template with ``{username}``."""
    log_days: int
    sbatch: str
    scancel: str


class User(NamedTuple):
    """The account that runs the launcher."""

    name: str
    staging: Path
    """Directory with the folders of all clusters of this user."""

    @property
    def logs(self) -> Path:
        """Directory with the logs of all clusters of this user."""
        return Path(cluster_folder.logs(str(self.staging)))

    def folder(self, cluster: str) -> Path:
        """Return the folder of a cluster."""
        return Path(cluster_folder.folder(str(self.staging), cluster))

    def cluster_logs(self, cluster: str) -> Path:
        """Return the directory with the logs of a cluster, which outlive the cluster."""
        return Path(cluster_folder.cluster_logs(str(self.staging), cluster))


def read_limits(configuration: Path) -> Limits:
    """Read the limits. Raises ``OSError``, ``ValueError`` or ``TypeError`` when the file is absent or malformed."""
    return Limits(**json.loads(configuration.read_text()))


def read_request(text: str, actions: Collection[str]) -> dict[str, Any]:
    """Read a request for one of the actions on one cluster. Raises :class:`RequestError` or what parsing raises."""
    request: dict[str, Any] = json.loads(text)
    if request.get("action") not in actions:
        raise RequestError(f"actions are {', '.join(actions)}")
    if not CLUSTER_NAME.fullmatch(request.get("cluster", "")):
        raise RequestError("the request does not name a cluster by 32 hexadecimal digits")
    return request


def checked_user(limits: Limits, request: Mapping[str, Any]) -> User:
    """Return the account that runs the launcher.

    Raises :class:`RequestError` for a system account, and for an account whose uid or gid differs from the request's.
    """
    uid, gid = os.getuid(), os.getgid()
    if uid < max(limits.minimum_uid, 1) or gid < max(limits.minimum_gid, 1):
        raise RequestError(f"uid {uid} and gid {gid} are a system account's")
    if (uid, gid) != (request.get("uid"), request.get("gid")):
        raise RequestError(
            f"this machine gives the account the uid {uid} and the gid {gid}, the directory gives it"
            f" {request.get('uid')} and {request.get('gid')}"
        )
    name = pwd.getpwuid(uid).pw_name
    return User(name, Path(cluster_folder.staging_directory(limits.staging_directory, name)))
