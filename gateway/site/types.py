"""Types that all sections of a site share: the base model, units, patterns, back ends and access."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork

AbsolutePath = Annotated[str, Field(pattern=r"^/([^\s]*[^\s/])$", description="absolute path, no trailing slash")]
HostName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")]
HttpUrl = Annotated[str, Field(pattern=r"^https?://[^/\s]+(/\S*)?$", description="http or https address")]
IpAddress = Annotated[str, Field(pattern=r"^\d{1,3}(\.\d{1,3}){3}$")]
IpNetwork = Annotated[IPvAnyNetwork, Field(description="network in CIDR notation, for example 10.1.0.0/16")]
Port = Annotated[int, Field(ge=1, le=65535)]
PosixId = Annotated[int, Field(ge=1, le=2**32 - 2, description="uid or gid; 0 is never allowed")]
Seconds = Annotated[int, Field(ge=1)]
Cores = Annotated[float, Field(gt=0)]
Gib = Annotated[float, Field(gt=0, description="unit: 2**30 bytes")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63, description="DNS label")]

GIB = 2**30
"""Bytes in what dask-gateway calls "G" and the user guide "GB"."""


class Backend(StrEnum):
    """The system that runs a cluster."""

    KUBERNETES = "kubernetes"
    SLURM = "slurm"


class Access(StrEnum):
    """What a worker may do with a volume."""

    NONE = "none"
    READ_ONLY = "read-only"
    READ_WRITE = "read-write"


class Model(BaseModel):
    """Base of every section: it refuses unknown keys, and its values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
