"""The section ``storage``: the user guide's storage table, and how each back end mounts a volume."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.site.types import AbsolutePath, Access, Backend, HostName, Model, Name


class NfsSource(Model):
    """An NFS export."""

    kind: Literal["nfs"]
    server: HostName
    path: AbsolutePath


class HostPathSource(Model):
    """A directory that every node has, for example a FUSE mount."""

    kind: Literal["host-path"]
    path: AbsolutePath


class ClaimSource(Model):
    """A PersistentVolumeClaim that already exists."""

    kind: Literal["claim"]
    claim: Name


class StorageClassSource(Model):
    """A PersistentVolumeClaim that Pulumi creates on a storage class, for example CVMFS."""

    kind: Literal["storage-class"]
    storage_class: str


class NativeSource(Model):
    """A volume that the host has mounted itself: the gateway checks it and mounts nothing."""

    kind: Literal["native"]


class BindSource(Model):
    """A directory of the host that is bind-mounted at the volume's path (testbed)."""

    kind: Literal["bind"]
    path: AbsolutePath


KubernetesSource = Annotated[NfsSource | HostPathSource | ClaimSource | StorageClassSource, Field(discriminator="kind")]
SlurmSource = Annotated[NfsSource | NativeSource | BindSource, Field(discriminator="kind")]


class Volume(Model):
    """A row of the user guide's storage table."""

    name: Name
    label: str
    """The user guide's name of the volume."""
    path: AbsolutePath
    """The path at which workers see the volume."""
    access: dict[Backend, dict[Name, Access]]
    """Access by back end and user class; ``none`` for those that are not listed."""
    kubernetes: KubernetesSource | None = None
    slurm: SlurmSource | None = None
    marker: str | None = None
    """A file in the volume, relative to its path: while that file is absent, the volume is not really mounted."""

    def access_for(self, backend: Backend, user_class: str) -> Access:
        """Return what workers of a user class may do with this volume."""
        return self.access.get(backend, {}).get(user_class, Access.NONE)

    @model_validator(mode="after")
    def _has_sources(self) -> Self:
        for backend in Backend:
            wanted = any(access != Access.NONE for access in self.access.get(backend, {}).values())
            if wanted and getattr(self, backend.value) is None:
                raise ValueError(f"{self.name} is accessible on {backend.value} but has no source there")
        return self
