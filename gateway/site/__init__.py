"""The typed model of ``sites/*.yaml``: everything that differs between sites, defined once.

Pulumi, Ansible, the gateways, the client's configuration, the documentation and the tests read a site through
:func:`load`. ``python -m gateway.site check sites/*.yaml`` prints the faults of a file, one a line, and
``python -m gateway.site schema`` prints the JSON schema, from which editors complete keys.

Field names carry units: ``_seconds``, ``_gib`` (2**30 bytes, which dask-gateway calls "G" and the user guide "GB"),
``_cores`` (CPU cores; Kubernetes takes fractions).
"""

from gateway.site.certificates import HostCertificate, SlurmTls, Tls
from gateway.site.faults import SiteError
from gateway.site.gateways import (
    CoresBounds,
    DefaultEnvironment,
    Exposure,
    Gateway,
    GibBounds,
    Images,
    KubernetesGateway,
    LimitRange,
    MaximumWorkers,
    Placement,
    Quota,
    RateLimit,
    SchedulerResources,
    SlurmGateway,
    Timeouts,
    UserPods,
    UserTotal,
)
from gateway.site.identity import AccountSource, Directory, Hub, Identity, Pool, UserClass
from gateway.site.jobs import JobPlacement
from gateway.site.network import Destination, Network, Pods
from gateway.site.site_file import Site, load, schema_text
from gateway.site.storage import (
    BindSource,
    ClaimSource,
    HostPathSource,
    KubernetesSource,
    NativeSource,
    NfsSource,
    SlurmSource,
    StorageClassSource,
    Volume,
)
from gateway.site.types import GIB, Access, Backend, IpNetwork
from gateway.site.variables import EnvironmentVariables, WithheldVariable

__all__ = [
    "GIB",
    "Access",
    "AccountSource",
    "Backend",
    "BindSource",
    "ClaimSource",
    "CoresBounds",
    "DefaultEnvironment",
    "Destination",
    "Directory",
    "EnvironmentVariables",
    "Exposure",
    "Gateway",
    "GibBounds",
    "HostCertificate",
    "HostPathSource",
    "Hub",
    "Identity",
    "Images",
    "IpNetwork",
    "JobPlacement",
    "KubernetesGateway",
    "KubernetesSource",
    "LimitRange",
    "MaximumWorkers",
    "NativeSource",
    "Network",
    "NfsSource",
    "Placement",
    "Pods",
    "Pool",
    "Quota",
    "RateLimit",
    "SchedulerResources",
    "Site",
    "SiteError",
    "SlurmGateway",
    "SlurmSource",
    "SlurmTls",
    "StorageClassSource",
    "Timeouts",
    "Tls",
    "UserClass",
    "UserPods",
    "UserTotal",
    "Volume",
    "WithheldVariable",
    "load",
    "schema_text",
]
