"""Answer from the site's storage table which volumes a worker sees, and with which access. Pure."""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import Refusal
from gateway.site import Access, Backend, Site, Volume


@dataclass(frozen=True)
class Mount:
    """A volume as the workers of one class of users see it."""

    volume: Volume
    access: Access

    @property
    def read_only(self) -> bool:
        """Return whether the mount itself forbids writing."""
        return self.access is Access.READ_ONLY


def mounts(site: Site, backend: Backend, user_class: str) -> list[Mount]:
    """Return the mounts of the schedulers and workers of a class of users on a back end."""
    found = [Mount(volume, volume.access_for(backend, user_class)) for volume in site.storage]
    return [mount for mount in found if mount.access is not Access.NONE]


def markers(site: Site, backend: Backend, user_class: str) -> list[str]:
    """Return the paths of the files that prove that the volumes are mounted, instead of empty directories."""
    seen = [mount.volume for mount in mounts(site, backend, user_class)]
    return [f"{volume.path}/{volume.marker}" for volume in seen if volume.marker is not None]


def is_within(path: str, directory: str) -> bool:
    """Return whether a normalised absolute path is the directory or lies in it."""
    return path == directory or path.startswith(f"{directory}/")


def checked_path(option: str, path: str, site: Site, backend: Backend, user_class: str) -> str:
    """Return the normalised path. Raises :class:`Refusal`, with the volumes that workers see, unless it lies in one."""
    if not path.startswith("/"):
        raise Refusal(f"{option}={path!r} is not an absolute path: begin it with '/'.")
    normalised = posixpath.normpath(path)
    if normalised.startswith("//"):
        normalised = normalised[1:]
    visible = [mount.volume for mount in mounts(site, backend, user_class)]
    if any(is_within(normalised, volume.path) for volume in visible):
        return normalised
    hidden = [volume.path for volume in site.storage if is_within(normalised, volume.path)]
    workers, advice = site.gateway(backend).workers_label, relocation_advice(site, backend, user_class)
    if hidden:
        raise Refusal(f"{option}={path!r}: {hidden[0]} is not visible to {workers}; {advice}")
    raise Refusal(f"{option}={path!r} is not on storage that {workers} see ({_names(visible)}); {advice}")


def relocation_advice(site: Site, backend: Backend, user_class: str) -> str:
    """Return where a user can put an environment that workers don't see. The sentence begins in lower case."""
    seen = mounts(site, backend, user_class)
    writable = [mount.volume for mount in seen if mount.access is Access.READ_WRITE]
    places = _names(writable or [mount.volume for mount in seen])
    return f"put it under {places}{site.gateway(backend).alternative}."


def _names(volumes: Sequence[Volume]) -> str:
    return " or ".join(volume.path for volume in volumes)
