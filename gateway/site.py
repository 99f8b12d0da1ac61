"""The typed model of ``sites/*.yaml``: everything that differs between one site and another, said once.

Pulumi, Ansible, the gateways, the client's configuration, the documentation and the tests read a site through
:func:`load`. Run ``python -m gateway.site check sites/*.yaml`` to see what is wrong with a file, one line per fault,
and ``python -m gateway.site schema`` for the JSON schema that editors complete by.

Units stand in the field names: ``_seconds``, ``_gib`` (2**30 bytes, what dask-gateway calls "G" and the user guide
"GB"), ``_cores`` (CPU cores, may be fractional on Kubernetes).
"""

import difflib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

AbsolutePath = Annotated[str, Field(pattern=r"^/([^\s]*[^\s/])$", description="absolute path, no trailing slash")]
HostName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$")]
HttpUrl = Annotated[str, Field(pattern=r"^https?://[^/\s]+(/\S*)?$", description="http or https address")]
IpAddress = Annotated[str, Field(pattern=r"^\d{1,3}(\.\d{1,3}){3}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
PosixId = Annotated[int, Field(ge=1, le=2**32 - 2, description="uid or gid; 0 is never allowed")]
Seconds = Annotated[int, Field(ge=1)]
Cores = Annotated[float, Field(gt=0)]
Gib = Annotated[float, Field(gt=0, description="unit: 2**30 bytes")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63, description="DNS label")]


GIB = 2**30
"""Bytes; what dask-gateway calls "G" and the user guide "GB"."""
MOST_VARIABLES_BYTES = 524288
"""They come in one request and go into one Secret: upstream's API takes 1 MiB of JSON, Kubernetes 1 MiB of data."""


class Backend(StrEnum):
    """Where a cluster runs."""

    KUBERNETES = "kubernetes"
    SLURM = "slurm"


class Access(StrEnum):
    """What a worker may do with a volume."""

    NONE = "none"
    READ_ONLY = "read-only"
    READ_WRITE = "read-write"


class AccountSource(StrEnum):
    """Who knows the uid, gid and groups of a class of users."""

    DIRECTORY = "directory"
    """The directory, under the JupyterHub name."""
    HUB = "hub"
    """JupyterHub's auth state."""
    POOL = "pool"
    """The directory, as the pool account whose numbers the user names; the first who names one keeps it."""


class Model(BaseModel):
    """Base of every section: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class UserClass(Model):
    """A class of users, told apart by the exact suffix of their JupyterHub name."""

    name: Name
    suffix: Annotated[str, Field(pattern=r"^(-[a-z0-9]+)?$")]
    """What a name of this class ends with; empty for names without any listed suffix."""
    account: AccountSource
    """Where uid, gid and groups come from."""
    label: str
    """How messages call these users, for example ``CERN``."""


class Directory(Model):
    """The LDAP directory that knows accounts."""

    url: Annotated[str, Field(pattern=r"^ldaps://[^/\s]+$")]
    """TLS always, certificate always verified."""
    people_base: str
    """Base of the entries with ``uid``, ``uidNumber``, ``gidNumber`` (RFC 2307 posixAccount)."""
    groups_base: str
    """Base of the entries with ``gidNumber``, ``memberUid`` (RFC 2307 posixGroup)."""
    timeout_seconds: Seconds
    """For connecting and for each answer."""
    cache_seconds: Seconds
    """How old an account may be before it is looked up again."""
    outage_seconds: Seconds
    """How old an account may be while the directory does not answer."""
    ca_file: AbsolutePath | None = None
    """Certificate authority of the directory, where the gateways find it; the system's when absent."""


class Hub(Model):
    """The JupyterHub that vouches for users."""

    api_url: HttpUrl
    """As the gateways reach it, with ``/hub/api``."""
    service_name: Name
    """The gateways' name as a JupyterHub service: a token must carry ``access:services!service=NAME``."""
    uid_key: str = "uid"
    """Key of the uid in the auth state of users whose account comes from the hub."""
    gid_key: str = "gid"
    """Key of the gid in that auth state."""
    groups_key: str = "groups"
    """Key of the list of supplementary gids in that auth state; it may be absent there."""


Pattern = Annotated[str, Field(min_length=1, description="regular expression for a whole name")]


class Pool(Model):
    """Accounts of the directory that are lent to people whose own account is elsewhere."""

    account_pattern: Pattern
    """The names of all of them: nobody is one of these by the JupyterHub name."""
    claimed_pattern: Pattern | None = None
    """The names of those that users of the pool may name; all when absent."""

    @field_validator("account_pattern", "claimed_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return pattern

    def has(self, name: str) -> bool:
        """Whether an account of that name is lent to people."""
        return re.fullmatch(self.account_pattern, name) is not None

    def lends_by_claim(self, name: str) -> bool:
        """Whether it is lent to whoever names it first."""
        return self.has(name) and re.fullmatch(self.claimed_pattern or ".*", name) is not None


class Identity(Model):
    """Who users are."""

    classes: Annotated[tuple[UserClass, ...], Field(min_length=1)]
    minimum_uid: PosixId
    """Accounts below are system accounts and refused."""
    minimum_gid: PosixId
    """A primary group below is refused; supplementary groups below are left out."""
    directory: Directory
    hub: Hub
    pool: Pool | None = None
    """Needed when a class has its accounts from the pool; nobody can be a pool account by the JupyterHub name."""

    @model_validator(mode="after")
    def _pool_is_known(self) -> Self:
        sources = {user_class.account for user_class in self.classes}
        if AccountSource.POOL in sources:
            if self.pool is None:
                raise ValueError("a class has its accounts from the pool, but there is no pool")
            if AccountSource.HUB in sources and self.pool.claimed_pattern is None:
                raise ValueError(
                    "some classes have their accounts from the hub and some from the pool: pool.claimed_pattern must"
                    " tell which accounts the hub does not lend"
                )
        return self

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for key in ("name", "suffix"):
            values = [getattr(user_class, key) for user_class in self.classes]
            if len(set(values)) != len(values):
                raise ValueError(f"two user classes have the same {key}")
        return self


class CoresBounds(Model):
    """Bounds of ``worker_cores``."""

    minimum: Cores
    maximum: Cores
    whole: bool
    """Only whole numbers of cores."""


class GibBounds(Model):
    """Bounds of ``worker_memory``."""

    minimum: Gib
    maximum: Gib


class SchedulerResources(Model):
    """What one scheduler takes."""

    cores: Cores
    memory_gib: Gib


class Timeouts(Model):
    """Section 5 of the user guide."""

    start_seconds: Seconds
    """A cluster whose scheduler has not started by then fails."""
    lifetime_seconds: Seconds
    """Scheduler and workers end after this."""
    client_gone_seconds: Seconds
    """A cluster ends when no client was connected for this long."""

    @property
    def report_seconds(self) -> float:
        """How often a scheduler says that a client is connected: many times over before it would be ended."""
        return self.client_gone_seconds / 20


class UserTotal(Model):
    """What all clusters of one user may hold together, schedulers included."""

    cores: Cores
    memory_gib: Gib


class DefaultEnvironment(Model):
    """The environment of clusters whose user names none."""

    pixi_project: AbsolutePath | None = None
    pixi_env: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = "default"
    conda_env: AbsolutePath | None = None
    """Instead of :attr:`pixi_project`."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.pixi_project is None) == (self.conda_env is None):
            raise ValueError("one of pixi_project and conda_env is needed")
        return self


class Gateway(Model):
    """What both gateways have."""

    workers_label: ClassVar[str]
    alternative: ClassVar[str]
    address: HttpUrl
    """The user guide's address of the API, also of the dashboards."""
    proxy_host: HostName
    """Where clients reach schedulers (TLS, told apart by SNI)."""
    proxy_port: Port
    classes: Annotated[tuple[Name, ...], Field(min_length=1)]
    """The user classes that this gateway serves."""
    refusal: str
    """What users of other classes are told."""
    worker_cores: CoresBounds
    worker_memory_gib: GibBounds
    scheduler: SchedulerResources
    timeouts: Timeouts
    default_environment: DefaultEnvironment | None = None

    @property
    def host(self) -> str:
        """Host name of :attr:`address`."""
        return self.address.split("://", 1)[1].split("/", 1)[0].split(":", 1)[0]


class Exposure(Model):
    """How a Service gets an address outside of the Kubernetes cluster."""

    kind: Literal["LoadBalancer", "ExternalIPs"]
    address_pool: str | None = None
    """MetalLB's pool, for LoadBalancer."""
    external_ips: tuple[IpAddress, ...] = ()
    """Addresses of nodes, for ExternalIPs."""


class Quota(Model):
    """The ResourceQuota of the namespace: a bound on everything in it."""

    cores: Cores
    memory_gib: Gib
    pods: Annotated[int, Field(ge=1)]


class LimitRange(Model):
    """Defaults for containers that name no resources, and the most that one may have."""

    default_cores: Cores
    default_memory_gib: Gib
    maximum_cores: Cores
    maximum_memory_gib: Gib


class Images(Model):
    """Container images. The testbed replaces them by what it has built."""

    server: str
    """Gateway API and controller."""
    environment: str
    """Schedulers' and workers' pods: a base in which users' environments run."""
    traefik: str


class Placement(Model):
    """Which nodes pods go to."""

    node_selector: dict[str, str] = {}
    tolerations: tuple[dict[str, str], ...] = ()


class Prometheus(Model):
    """The pods that read metrics."""

    namespace: Name
    labels: Annotated[dict[str, str], Field(min_length=1)]
    """Labels that select them there; in a namespace that it shares with users' pods, theirs must be others."""


class KubernetesGateway(Gateway):
    """The gateway on Kubernetes (Geddes)."""

    workers_label: ClassVar[str] = "Kubernetes workers"
    alternative: ClassVar[str] = ""

    release: Name
    """Name of the gateway's objects and value of the label ``gateway.dask.org/instance``."""
    namespace: Name
    manage_traefik_crds: bool
    """Whether this stack owns the traefik.io CRDs, or the cluster's administrators do."""
    ingress_class: Name
    ingress_namespace: Name
    """Where the ingress controller's pods are (for NetworkPolicy)."""
    proxy_exposure: Exposure
    prometheus: Prometheus | None = None
    """None: nobody reaches the metrics from another pod (for NetworkPolicy)."""
    images: Images
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"]
    api_replicas: Annotated[int, Field(ge=1)]
    proxy_replicas: Annotated[int, Field(ge=1)]
    quota: Quota
    limit_range: LimitRange
    user_total: UserTotal
    user_total_by_class: dict[Name, UserTotal] = {}
    """For classes of users with a total of their own."""
    placement: Placement = Placement()
    host_aliases: dict[HostName, IpAddress] = {}
    """Host names that the namespace's pods resolve to fixed addresses (``hostAliases``)."""


SlurmWord = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,&|:*()\[\]-]*$")]
"""Of sbatch: the name of a partition, reservation or QOS, or an expression of features of nodes."""


class JobPlacement(Model):
    """Where jobs of a kind run, in the words of sbatch; what is absent is SLURM's to decide."""

    partition: SlurmWord
    reservation: SlurmWord | None = None
    qos: SlurmWord | None = None
    constraint: SlurmWord | None = None
    extra_options: tuple[Annotated[str, Field(pattern=r"^--[a-z][^\n]*$")], ...] = ()
    """Lines ``#SBATCH`` of their scripts, for example ``--exclusive=user``; what the gateway sets itself wins."""


class SlurmGateway(Gateway):
    """The gateway on SLURM (Hammer), and its front on Geddes."""

    workers_label: ClassVar[str] = "SLURM workers"
    alternative: ClassVar[str] = " or use Gateway()"

    release: Name
    """Name of the front's objects on Kubernetes."""
    submission_host: HostName
    submission_address: IpAddress
    """Address of the submission host as Geddes reaches it."""
    api_port: Port
    """Port of the API server on the submission host, loopback only."""
    metrics_address: IpAddress = "127.0.0.1"
    """Of its metrics on the submission host; beyond loopback, a firewall has to let in Prometheus alone."""
    metrics_port: Port
    cluster_name: Name
    account: Name
    scheduler_jobs: JobPlacement
    worker_jobs: JobPlacement
    user_total: UserTotal | None = None
    """Absent when SLURM's own limits of associations and QOS are all that bounds a user."""
    front_exposure: Exposure
    staging_directory: Annotated[str, Field(pattern=r"^/\S*\{username\}\S*$")]
    """Template of a user's folder for running clusters and for logs; on storage that the nodes see."""
    log_days: Annotated[int, Field(ge=1)]
    """How long the logs of a user's clusters are kept there."""
    system_user: Name
    """The account under which the gateway's services run."""
    install_directory: AbsolutePath
    """Where the gateway's virtual environment lives."""
    state_directory: AbsolutePath
    """Where its database lives."""
    user_groups: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Directory groups whose members the gateway may submit for (sudoers)."""


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
    """A PersistentVolumeClaim that exists already."""

    kind: Literal["claim"]
    claim: Name


class StorageClassSource(Model):
    """A claim of our own on a storage class, for example CVMFS."""

    kind: Literal["storage-class"]
    storage_class: str


class NativeSource(Model):
    """The host has it already and nobody here mounts it; only checked."""

    kind: Literal["native"]


class BindSource(Model):
    """A directory of the host mounted at the volume's path (testbed)."""

    kind: Literal["bind"]
    path: AbsolutePath


KubernetesSource = Annotated[NfsSource | HostPathSource | ClaimSource | StorageClassSource, Field(discriminator="kind")]
SlurmSource = Annotated[NfsSource | NativeSource | BindSource, Field(discriminator="kind")]


class Volume(Model):
    """A row of the user guide's storage table."""

    name: Name
    label: str
    """As the user guide calls it."""
    path: AbsolutePath
    """Where workers see it."""
    access: dict[Backend, dict[Name, Access]]
    """Per back end and user class; what is not listed is none."""
    kubernetes: KubernetesSource | None = None
    slurm: SlurmSource | None = None
    marker: str | None = None
    """A file in it, relative: when absent, the volume is not really mounted."""

    def access_for(self, backend: Backend, user_class: str) -> Access:
        """What workers of a user class may do with this volume."""
        return self.access.get(backend, {}).get(user_class, Access.NONE)

    @model_validator(mode="after")
    def _has_sources(self) -> Self:
        for backend in Backend:
            wanted = any(access != Access.NONE for access in self.access.get(backend, {}).values())
            if wanted and getattr(self, backend.value) is None:
                raise ValueError(f"{self.name} is accessible on {backend.value} but has no source there")
        return self


class WithheldVariable(Model):
    """A pattern of names of environment variables that stay in the notebook."""

    pattern: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\*?$")]
    """A name, or a prefix followed by ``*``."""
    reason: str


class EnvironmentVariables(Model):
    """What of a user's ``env`` reaches workers."""

    withheld: tuple[WithheldVariable, ...]
    maximum_bytes: Annotated[int, Field(ge=1, le=MOST_VARIABLES_BYTES)]
    """Bound on the sum of all names and values, in bytes."""
    added: dict[str, str] = {}
    """Variables that workers get unless the user sets them."""


class Site(Model):
    """A whole site."""

    name: Name
    title: str
    identity: Identity
    kubernetes: KubernetesGateway
    slurm: SlurmGateway
    storage: tuple[Volume, ...]
    environment_variables: EnvironmentVariables

    def gateway(self, backend: Backend) -> Gateway:
        """The gateway of a back end."""
        return self.kubernetes if backend is Backend.KUBERNETES else self.slurm

    @model_validator(mode="after")
    def _slurm_users_have_accounts(self) -> Self:
        sources = {user_class.name: user_class.account for user_class in self.identity.classes}
        for name in self.slurm.classes:
            if sources.get(name, AccountSource.DIRECTORY) is not AccountSource.DIRECTORY:
                raise ValueError(f"slurm.classes has {name!r}, whose users have no account of their own there")
        return self

    @model_validator(mode="after")
    def _classes_exist(self) -> Self:
        known = {user_class.name for user_class in self.identity.classes}
        used = {f"{backend.value}.classes": set(self.gateway(backend).classes) for backend in Backend}
        for volume in self.storage:
            for backend, by_class in volume.access.items():
                used[f"storage {volume.name} access.{backend.value}"] = set(by_class)
        for place, classes in used.items():
            for unknown in sorted(classes - known):
                raise ValueError(f"{place} names the unknown user class {unknown!r}; known: {', '.join(sorted(known))}")
        return self


class SiteError(Exception):
    """A site file that can't be used; one line per fault."""

    def __init__(self, path: Path, faults: Sequence[str]) -> None:
        self.path, self.faults = path, tuple(faults)
        super().__init__("\n".join(f"{path}: {fault}" for fault in faults))


def load(path: Path) -> Site:
    """Read and check a site file.

    Raises :class:`SiteError` that names every fault by its key's path.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SiteError(path, [f"can't be read: {error.strerror}"]) from error
    except yaml.YAMLError as error:
        raise SiteError(path, [f"is no YAML: {' '.join(str(error).split())}"]) from error
    try:
        return Site.model_validate(data)
    except ValidationError as error:
        raise SiteError(path, list(_faults(error))) from error


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        location = [str(part) for part in fault["loc"]]
        place = ".".join(location) or "(top level)"
        if fault["type"] == "extra_forbidden":
            yield f"{place}: unknown key{_nearest(location)}"
        elif fault["type"] == "missing":
            yield f"{place}: missing"
        else:
            yield f"{place}: {fault['msg'].removeprefix('Value error, ')} (found {_short(fault['input'])})"


def _short(value: object) -> str:
    if isinstance(value, Mapping | BaseModel):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _nearest(location: Sequence[str]) -> str:
    known = _known_keys(location[:-1])
    close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0)
    return f"; did you mean {close[0]!r}?" if close else ""


Node = dict[str, Any]
"""A JSON schema's node."""


def _known_keys(location: Sequence[str]) -> list[str]:
    """Keys that the schema knows at a place; empty where it can't be told."""
    schema = Site.model_json_schema()
    definitions: dict[str, Node] = schema["$defs"]
    node: Node = schema
    for part in location:
        node = _descend(node, part, definitions)
    return sorted(_resolve(node, definitions).get("properties", {}))


def _resolve(node: Node, definitions: Mapping[str, Node]) -> Node:
    return definitions[node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node


def _descend(node: Node, part: str, definitions: Mapping[str, Node]) -> Node:
    """The node of a part of a fault's location: a key, a list's index, or the tag of one kind of a union."""
    node = _resolve(node, definitions)
    mapping = node.get("discriminator", {}).get("mapping", {})
    if part in mapping:
        return {"$ref": mapping[part]}
    if part in node.get("properties", {}):
        return dict(node["properties"][part])
    for option in node.get("anyOf", ()):
        found = _descend(option, part, definitions)
        if found:
            return found
    inner = node.get("items") if part.isdigit() else node.get("additionalProperties")
    return inner if isinstance(inner, dict) else {}


def schema_text() -> str:
    """The JSON schema of a site file, as committed in ``sites/schema.json``."""
    return json.dumps(Site.model_json_schema(), indent=2) + "\n"


def main(arguments: Sequence[str]) -> int:
    """``check FILE...`` or ``schema``; returns the exit code."""
    match list(arguments):
        case ["schema"]:
            sys.stdout.write(schema_text())
            return 0
        case ["check", first, *more]:
            return max(_check(Path(name)) for name in (first, *more))
        case _:
            sys.stderr.write("usage: python -m gateway.site check FILE... | schema\n")
            return 2


def _check(path: Path) -> int:
    try:
        load(path)
    except SiteError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{path}: fine\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
