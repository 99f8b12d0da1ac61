"""The storage table: which volume a worker sees, and how. Pure."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import Refusal
from gateway.site import Access, Backend, Site, Volume


@dataclass(frozen=True)
class Mount:
    """A volume as a worker of some class sees it."""

    volume: Volume
    access: Access

    @property
    def read_only(self) -> bool:
        """Whether the mount itself forbids writing."""
        return self.access is Access.READ_ONLY


def mounts(site: Site, backend: Backend, user_class: str) -> list[Mount]:
    """What the schedulers and workers of a class of users see on a back end."""
    found = [Mount(volume, volume.access_for(backend, user_class)) for volume in site.storage]
    return [mount for mount in found if mount.access is not Access.NONE]


def is_within(path: str, directory: str) -> bool:
    """Whether a normalised absolute path is a directory or something in it."""
    return path == directory or path.startswith(f"{directory}/")


def checked_path(option: str, path: str, site: Site, backend: Backend, user_class: str) -> str:
    """The path normalised, if workers see its volume. Raises :class:`Refusal`, with the volumes that they see."""
    if not path.startswith("/"):
        raise Refusal(f"{option}={path!r} is no absolute path.")
    normalised = posixpath.normpath(path)
    if normalised.startswith("//"):
        normalised = normalised[1:]
    visible = [mount.volume for mount in mounts(site, backend, user_class)]
    if any(is_within(normalised, volume.path) for volume in visible):
        return normalised
    raise Refusal(
        f"{option}={path!r} is not on storage that {_workers(backend)} see: {_names(visible)}.{_advice(site, backend)}"
    )


def _workers(backend: Backend) -> str:
    return "SLURM workers" if backend is Backend.SLURM else "Kubernetes workers"


def _names(volumes: Sequence[Volume]) -> str:
    return ", ".join(volume.path for volume in volumes)


def _advice(site: Site, backend: Backend) -> str:
    if backend is Backend.KUBERNETES:
        return ""
    elsewhere = [volume.path for volume in site.storage if Backend.SLURM not in volume.access]
    return f" Clusters of Gateway() without arguments see {', '.join(elsewhere)} too." if elsewhere else ""
