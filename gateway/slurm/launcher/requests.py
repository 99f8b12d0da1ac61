"""Limits of the launcher, the user for whom it acts, and the checks of a request."""

import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple, Self

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
    server_account: str
    """The one account that may call the launcher."""
    user_groups: list[str]
    """The launcher acts as members of these groups only."""
    sbatch: str
    scancel: str
    squeue: str
    hub_api_url: str
    """Address of JupyterHub's API, which knows whose a token is."""
    hub_ca_file: str | None
    """Certificate authority of an https :attr:`hub_api_url`; the system's authorities when None."""


class User(NamedTuple):
    """The user for whom the launcher acts."""

    uid: int
    staging: Path
    """Directory with the folders of all clusters of this user."""

    @classmethod
    def of(cls, limits: Limits, name: str) -> Self:
        """Return the user with this name, whose account this process has."""
        return cls(os.getuid(), Path(cluster_folder.staging_directory(limits.staging_directory, name)))

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


def read_request(text: bytes, actions: Collection[str]) -> dict[str, Any]:
    """Read a request for one of the actions on one cluster. Raises :class:`RequestError` or what parsing raises."""
    request: dict[str, Any] = json.loads(text)
    if request.get("action") not in actions:
        raise RequestError(f"actions are {', '.join(actions)}")
    if not CLUSTER_NAME.fullmatch(request.get("cluster", "")):
        raise RequestError("the request does not name a cluster by 32 hexadecimal digits")
    return request
