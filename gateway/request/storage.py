"""The storage table: which volume a worker sees, and how. Pure."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import Refusal
from gateway.site import Access, Backend, Site, Volume

WORKERS = {Backend.KUBERNETES: "Kubernetes workers", Backend.SLURM: "SLURM workers"}
"""How messages call those who see the volumes."""


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


def markers(site: Site, backend: Backend, user_class: str) -> list[str]:
    """Files of which each says that a volume is really mounted, not an empty directory in its place."""
    seen = [mount.volume for mount in mounts(site, backend, user_class)]
    return [f"{volume.path}/{volume.marker}" for volume in seen if volume.marker is not None]


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
    hidden = [volume.path for volume in site.storage if is_within(normalised, volume.path)]
    advice = elsewhere(site, backend, user_class)
    if hidden:
        raise Refusal(f"{option}={path!r}: {hidden[0]} is not visible to {WORKERS[backend]}; {advice}")
    raise Refusal(f"{option}={path!r} is not on storage that {WORKERS[backend]} see ({_names(visible)}); {advice}")


def elsewhere(site: Site, backend: Backend, user_class: str) -> str:
    """What a user can do whose environment is where workers don't see it."""
    seen = mounts(site, backend, user_class)
    writable = [mount.volume for mount in seen if mount.access is Access.READ_WRITE]
    places = _names(writable or [mount.volume for mount in seen])
    other_gateway = " or use Gateway()" if backend is Backend.SLURM else ""
    return f"put it under {places}{other_gateway}."


def _names(volumes: Sequence[Volume]) -> str:
    return " or ".join(volume.path for volume in volumes)
