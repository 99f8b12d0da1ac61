"""The sections ``kubernetes`` and ``slurm``: the two gateways, their bounds, and where their clusters run."""

import itertools
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from gateway.site.certificates import SlurmTls, Tls
from gateway.site.jobs import JobPlacement, Launcher
from gateway.site.network import Network, Pods
from gateway.site.types import (
    AbsolutePath,
    Cores,
    Gib,
    HostName,
    HttpUrl,
    IpAddress,
    IpNetwork,
    Model,
    Name,
    Port,
    Seconds,
)


class CoresBounds(Model):
    """Bounds of ``worker_cores``."""

    minimum: Cores
    maximum: Cores
    whole: bool
    """Whether only whole numbers of cores are allowed."""


class GibBounds(Model):
    """Bounds of ``worker_memory``."""

    minimum: Gib
    maximum: Gib


class SchedulerResources(Model):
    """The resources of one scheduler."""

    cores: Cores
    memory_gib: Gib


class Timeouts(Model):
    """The timeouts of a cluster (user guide, section 5)."""

    start_seconds: Seconds
    """Start timeout: a cluster fails when its scheduler has not started after this time."""
    lifetime_seconds: Seconds
    """Lifetime: scheduler and workers end after this time."""
    client_gone_seconds: Seconds
    """Client-gone timeout: a cluster ends when no client was connected for this time."""

    @property
    def report_seconds(self) -> float:
        """Return the interval of scheduler reports: a twentieth of the client-gone timeout, so some may be lost."""
        return self.client_gone_seconds / 20


class UserTotal(Model):
    """Bound on the resources of all clusters of one user, schedulers included."""

    cores: Cores
    memory_gib: Gib


WorkerCount = Annotated[int, Field(ge=1, le=10_000)]


class MaximumWorkers(Model):
    """Bounds on the number of workers, which hold also where cores and memory have no bound."""

    per_cluster: WorkerCount
    per_user: WorkerCount
    """Bound over all clusters of one user."""

    @model_validator(mode="after")
    def _is_reachable(self) -> Self:
        if self.per_cluster > self.per_user:
            raise ValueError(f"per_cluster is {self.per_cluster}, more than per_user, which is {self.per_user}")
        return self


class DefaultEnvironment(Model):
    """The environment of clusters whose options name none."""

    pixi_project: AbsolutePath | None = None
    pixi_env: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")] = "default"
    conda_env: AbsolutePath | None = None
    """A Conda environment in place of :attr:`pixi_project`."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.pixi_project is None) == (self.conda_env is None):
            raise ValueError("one of pixi_project and conda_env is needed")
        return self


class Gateway(Model):
    """The keys that both gateways have."""

    workers_label: ClassVar[str]
    """How messages call the workers of this gateway."""
    alternative: ClassVar[str]
    """The end of an advice to use the other gateway; empty on the gateway that the client uses by default."""

    address: HttpUrl
    """Address of the API and the dashboards, as the user guide gives it."""
    hub_service: Name
    """This gateway's own service of JupyterHub, whose API token it has. JupyterHub sends the logins of a service to one
    address only, so each gateway needs one."""
    proxy_host: HostName
    """Host at which clients reach schedulers (TLS; Traefik routes by SNI)."""
    proxy_port: Port
    classes: Annotated[tuple[Name, ...], Field(min_length=1)]
    """The user classes that this gateway serves."""
    refusal: str
    """Error text for users of other classes."""
    worker_cores: CoresBounds
    worker_memory_gib: GibBounds
    scheduler: SchedulerResources
    maximum_workers: MaximumWorkers
    timeouts: Timeouts
    default_environment: DefaultEnvironment | None = None
    trusted_proxies: tuple[IpNetwork, ...] = ()
    """Networks of the proxies in front of the gateway's own proxy, for example of the ingress controller's pods. The
    gateway believes what they say of a client's address (X-Forwarded-For) and scheme (X-Forwarded-Proto)."""
    tls: Tls | None = None
    """When absent, the gateway speaks plain HTTP, and tokens of users can be read on the way."""

    @model_validator(mode="after")
    def _address_has_the_scheme_of_tls(self) -> Self:
        scheme = "http" if self.tls is None else "https"
        if not self.address.startswith(f"{scheme}://"):
            found = "no tls" if self.tls is None else "tls"
            raise ValueError(f"address is {self.address}, but the gateway has {found}: begin it with {scheme}://")
        return self

    @model_validator(mode="after")
    def _knows_the_scheme_of_clients(self) -> Self:
        if self.tls is not None and not self.trusted_proxies:
            raise ValueError("tls needs trusted_proxies: the ingress controller tells which requests came by https")
        return self

    @property
    def host(self) -> str:
        """Return the host name of :attr:`address`."""
        return self.address.split("://", 1)[1].split("/", 1)[0].split(":", 1)[0]


class Exposure(Model):
    """The way in which a Service gets an address outside of the Kubernetes cluster."""

    kind: Literal["LoadBalancer", "ExternalIPs"]
    address_pool: str | None = None
    """MetalLB's address pool, for LoadBalancer."""
    external_ips: tuple[IpAddress, ...] = ()
    """Addresses of nodes, for ExternalIPs."""


class RateLimit(Model):
    """Bound on the requests of one source address to the API, at each replica of the proxy."""

    requests_per_second: Annotated[int, Field(ge=1)]
    burst: Annotated[int, Field(ge=1)]
    """Requests that may come at once."""


class Quota(Model):
    """The ResourceQuota of the clusters' namespace, which bounds all clusters together."""

    cores: Cores
    memory_gib: Gib
    pods: Annotated[int, Field(ge=1)]
    clusters: Annotated[int, Field(ge=1)]
    """DaskClusters, with the records of clusters that have ended within a day."""
    clusters_of_user: Annotated[int, Field(ge=1)]
    """The part of them that one user may have, so that no user takes all."""
    secrets: Annotated[int, Field(ge=1)]
    """A cluster has two."""
    services: Annotated[int, Field(ge=1)]
    """A cluster has one."""


class LimitRange(Model):
    """The LimitRange of the clusters' namespace: a container's maximum, and its defaults without resources."""

    default_cores: Cores
    default_memory_gib: Gib
    maximum_cores: Cores
    maximum_memory_gib: Gib


class UserPods(Model):
    """Bounds of each scheduler's and each worker's pod on its node."""

    storage_request_gib: Annotated[float, Field(ge=0, description="unit: 2**30 bytes")]
    """Ephemeral storage that Kubernetes' scheduler counts for a pod."""
    storage_limit_gib: Gib
    """Ephemeral storage at which the kubelet evicts a pod: scratch directory, ``/tmp`` and logs together."""
    priority_class: Name | None = None
    """A PriorityClass of the Kubernetes cluster; the cluster's default when absent."""
    supplemental_groups_policy: Literal["Merge", "Strict"] | None = None
    """``Strict`` leaves out groups that the image's ``/etc/group`` gives to the account. Every node needs Kubernetes
    1.33 and a runtime that supports it (containerd 2.0): the kubelet of another node refuses the pod. The cluster's
    default (``Merge``) when absent."""


class Images(Model):
    """Container images. The testbed replaces them by those that it builds."""

    server: str
    """Image of the gateway's API server and controller."""
    environment: str
    """Image of schedulers' and workers' pods: a base in which users' environments run."""
    traefik: str


class Placement(Model):
    """The nodes on which pods may run."""

    node_selector: dict[str, str] = Field(default={})
    tolerations: tuple[dict[str, str], ...] = ()


def _check_ports_differ(gateway: Gateway, *keys: str) -> None:
    """Refuse two ports of one machine that are equal: the second process could not listen."""
    for one, other in itertools.combinations(keys, 2):
        if getattr(gateway, one) == getattr(gateway, other):
            raise ValueError(f"{one} and {other} are both {getattr(gateway, one)}; choose another {one}")


class KubernetesGateway(Gateway):
    """The gateway on Kubernetes (Geddes)."""

    workers_label: ClassVar[str] = "Kubernetes workers"
    alternative: ClassVar[str] = ""
    api_port: ClassVar[int] = 8000
    metrics_port: ClassVar[int] = 9464
    """Port of the metrics of API server and controller: no Service and no route exposes it."""

    release: Name
    """Name of the gateway's objects and value of the label ``gateway.dask.org/instance``."""
    namespace: Name
    """Namespace of the gateway's own pods and Services, which it shares with others."""
    clusters_namespace: Name
    """Namespace of users' clusters alone, which this stack declares and bounds."""
    manage_traefik_crds: bool
    """Whether this stack owns the traefik.io CRDs; otherwise the administrators of the Kubernetes cluster do."""
    ingress_class: Name
    ingress_namespace: Name
    """Namespace of the ingress controller's pods (for NetworkPolicy)."""
    proxy_exposure: Exposure
    prometheus: Pods | None = None
    """The Prometheus pods that scrape metrics. When absent, the NetworkPolicy lets no other pod reach the metrics."""
    network: Network
    rate_limit: RateLimit
    proxied_api_port: Port
    """Port of the API server for requests that come through Traefik. Only Traefik may reach it."""
    images: Images
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"]
    api_replicas: Annotated[int, Field(ge=1)]
    proxy_replicas: Annotated[int, Field(ge=1)]
    quota: Quota
    limit_range: LimitRange
    user_pods: UserPods
    admission_policies: bool
    """Whether the stack declares ValidatingAdmissionPolicies, which need Kubernetes 1.30."""
    user_total: UserTotal
    user_total_by_class: dict[Name, UserTotal] = Field(default={})
    """User totals of the user classes that have one of their own."""
    placement: Placement = Placement()
    host_aliases: dict[HostName, IpAddress] = Field(default={})
    """Host names that the gateway's pods resolve to fixed addresses (``hostAliases``)."""

    @model_validator(mode="after")
    def _clusters_are_alone(self) -> Self:
        if self.clusters_namespace == self.namespace:
            raise ValueError(
                f"clusters_namespace and namespace are both {self.namespace}: the quota and the rights in the namespace"
                " of users' clusters would concern the other pods and Secrets there"
            )
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        _check_ports_differ(self, "proxied_api_port", "api_port", "metrics_port")
        return self

    def total_of(self, user_class: str | None) -> UserTotal:
        """Return what all clusters of one user of this class may hold together."""
        return self.user_total_by_class.get(user_class or "", self.user_total)


LEAST_SLURM_LIFETIME_SECONDS = 60
"""SLURM counts time limits in minutes."""


class SlurmGateway(Gateway):
    """The gateway on SLURM (Hammer), and its front on Geddes."""

    workers_label: ClassVar[str] = "SLURM workers"
    alternative: ClassVar[str] = " or use Gateway()"

    tls: SlurmTls | None = None
    """When absent, the gateway speaks plain HTTP, and tokens of users can be read on the way."""
    release: Name
    """Name of the front's Kubernetes objects."""
    submission_host: HostName
    submission_address: IpAddress
    """Address at which Geddes reaches the submission host."""
    api_port: Port
    """Port of the server on the submission host; the server listens on loopback only."""
    ingress_port: Port | None = None
    """Port of the proxy on which it believes :attr:`trusted_proxies`. Clients of ``proxy_port`` can come from the
    addresses of the ingress controller's nodes too."""
    metrics_address: IpAddress
    """Address of the metrics on the submission host; beyond loopback, a firewall must admit only Prometheus."""
    metrics_port: Port
    cluster_name: Name
    account: Name
    scheduler_jobs: JobPlacement
    worker_jobs: JobPlacement
    user_total: UserTotal | None = None
    """When absent, only SLURM's limits of associations and QOS bound a user."""
    front_exposure: Exposure
    staging_directory: Annotated[str, Field(pattern=r"^/\S*\{username\}\S*$")]
    """Template of a user's directory for cluster folders and logs, on storage that the nodes mount."""
    log_days: Annotated[int, Field(ge=1)]
    """Days for which the logs of a user's clusters stay there."""
    system_user: Name
    """The account of the API server."""
    proxy_user: Name
    """The account of the proxy (Traefik)."""
    install_directory: AbsolutePath
    """Directory of the gateway's virtual environment."""
    proxy_directory: AbsolutePath
    """Directory of the proxy's program and of its static configuration."""
    state_directory: AbsolutePath
    """Directory of the gateway's database."""
    routes_file: Annotated[str, Field(pattern=r"^/\S+/[^\s/]+\.yml$")]
    """File of the proxy's routes, which the server writes, in a directory that holds nothing else."""
    user_groups: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Groups of the directory; the launcher acts as their members only."""
    launcher: Launcher
    node_python: AbsolutePath
    """Python 3.8 or later on SLURM's nodes; it checks a user's environment before the user's own interpreter starts."""

    @model_validator(mode="after")
    def _lifetime_is_a_time_limit(self) -> Self:
        if self.timeouts.lifetime_seconds < LEAST_SLURM_LIFETIME_SECONDS:
            raise ValueError(
                f"timeouts.lifetime_seconds is {self.timeouts.lifetime_seconds}, and SLURM's shortest time limit is"
                f" {LEAST_SLURM_LIFETIME_SECONDS} s"
            )
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        _check_ports_differ(self, "api_port", "metrics_port", "proxy_port", "ingress_port")
        return self

    @model_validator(mode="after")
    def _proxies_have_a_port(self) -> Self:
        if bool(self.trusted_proxies) != (self.ingress_port is not None):
            raise ValueError("trusted_proxies and ingress_port need each other: clients of proxy_port are not believed")
        return self

    @property
    def own_ports(self) -> frozenset[int]:
        """Return the ports of the gateway's processes on the submission host."""
        ports = (self.api_port, self.metrics_port, self.proxy_port, self.ingress_port)
        return frozenset(port for port in ports if port is not None)
