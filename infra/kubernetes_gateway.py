"""The Kubernetes gateway: API server, controller and proxy with their configuration, secrets and rights."""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import yaml
from pulumi_kubernetes.coordination.v1 import Lease
from pulumi_kubernetes.core.v1 import ConfigMap, Secret, Service, ServiceAccount

from gateway import settings
from gateway.kubernetes import names
from gateway.site import Site
from infra.dashboards import DashboardMiddlewares
from infra.exposure import DO_NOT_WAIT
from infra.proxy import Proxy
from infra.quantities import Amounts
from infra.workload import CONFIGURATION_ANNOTATION, SECRET_MODE, Mount, Rules, Workload, WorkloadArgs, digest

PYTHON_RESOURCES = Amounts(cores=0.1, cores_limit=2, memory_gib=0.25, memory_limit_gib=2)
"""Resources of API server and controller, each: requests for an idle process, limits for hundreds of clusters."""
CONTROLLER_COMPONENT = "controller"
SCRAPED = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(names.METRICS_PORT),
    "prometheus.io/path": settings.METRICS_PATH,
}
"""Annotations by which Prometheus, in its common configuration, discovers pods to scrape."""


CONTROLLER_CLUSTERS_RULES: Rules = [
    {"api_groups": ["gateway.dask.org"], "resources": ["daskclusters"], "verbs": ["list", "watch", "delete"]},
    {"api_groups": ["gateway.dask.org"], "resources": ["daskclusters/status"], "verbs": ["patch"]},
    {"api_groups": ["traefik.io"], "resources": ["ingressroutes", "ingressroutetcps"], "verbs": ["create"]},
    {"api_groups": [""], "resources": ["pods"], "verbs": ["list", "watch", "create", "delete"]},
    {
        "api_groups": ["discovery.k8s.io", "networking.k8s.io"],
        "resources": ["endpointslices", "networkpolicies"],
        "verbs": ["create", "delete"],
    },
    {"api_groups": [""], "resources": ["secrets"], "verbs": ["create", "delete"]},
    {"api_groups": [""], "resources": ["services"], "verbs": ["create"]},
    # The controller reads why a pod does not start: Kubernetes reports failed mounts only in events.
    {"api_groups": [""], "resources": ["events"], "verbs": ["list"]},
]


@dataclass(frozen=True)
class KubernetesGatewayArgs:
    """Arguments of :class:`KubernetesGateway`."""

    site: Site
    clusters_namespace: pulumi.Input[str]
    """The namespace of users' clusters, once it exists."""
    hub_token: pulumi.Input[str]
    authorities: Mapping[str, str]
    """Files of certificate authorities, all in one directory: path -> certificates (PEM)."""
    definitions: Sequence[pulumi.Resource]
    """The CRDs, which must exist before the gateway's pods start."""


class KubernetesGateway(pulumi.ComponentResource):
    """The gateway that runs clusters as pods.

    Its own objects are in the namespace of its public names, and what it needs for clusters in that of the clusters.
    """

    def __init__(self, name: str, args: KubernetesGatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("af-dask-gateway:infra:KubernetesGateway", name, {}, opts)
        self._args = args
        self._gateway = args.site.kubernetes
        self._child = pulumi.ResourceOptions(parent=self)
        site_text = yaml.safe_dump(args.site.model_dump(mode="json"), sort_keys=False)
        self.site = self._config_map("site", {posixpath.basename(settings.DEFAULT_SITE): site_text})
        self.trust = self._trust()
        self.hub_token = self._hub_token()
        site_mount = _config_mount("site", posixpath.dirname(settings.DEFAULT_SITE), self._object_name("site"))
        configuration = digest(site_text, *args.authorities.values())
        self.api = self._api(site_mount, configuration)
        self.api_service = self._api_service()
        self.lease = self._lease()
        self.clusters_account = self._clusters_account()
        self.controller = self._controller(site_mount, configuration)
        self.proxy = Proxy(f"{name}-proxy", self._gateway, args.clusters_namespace, args.definitions, opts=self._child)
        self.dashboards = DashboardMiddlewares(
            f"{name}-dashboards", self._gateway, args.clusters_namespace, args.definitions, opts=self._child
        )
        self.register_outputs({})

    def _object_name(self, kind: str) -> str:
        return f"{kind}-{self._gateway.release}"

    def _config_map(self, kind: str, data: Mapping[str, str]) -> ConfigMap:
        name = self._object_name(kind)
        return ConfigMap(name, metadata=self._metadata(name), data=data, opts=self._child)

    def _metadata(self, name: str) -> dict[str, pulumi.Input[str] | dict[str, str]]:
        labels = names.common_labels(self._gateway.release)
        return {"name": name, "namespace": self._gateway.namespace, "labels": labels}

    def _trust(self) -> ConfigMap | None:
        data = {posixpath.basename(path): text for path, text in self._args.authorities.items()}
        return self._config_map("trust", data) if data else None

    def _hub_token(self) -> Secret:
        name = self._object_name("hub-token")
        key = posixpath.basename(settings.DEFAULT_HUB_TOKEN)
        return Secret(name, metadata=self._metadata(name), string_data={key: self._args.hub_token}, opts=self._child)

    def _api(self, site_mount: Mount, configuration: str) -> Workload:
        mounts = [
            site_mount,
            Mount(
                "hub-token",
                posixpath.dirname(settings.DEFAULT_HUB_TOKEN),
                {"secret": {"secret_name": self._object_name("hub-token"), "default_mode": SECRET_MODE}},
            ),
            *self._trust_mounts(),
        ]
        return Workload(
            names.API_COMPONENT,
            WorkloadArgs(
                gateway=self._gateway,
                namespace=self._gateway.namespace,
                clusters_namespace=self._args.clusters_namespace,
                name=names.api_name(self._gateway.release),
                component=names.API_COMPONENT,
                image=self._gateway.images.server,
                arguments=["python", "-m", "gateway.kubernetes", "api"],
                ports={
                    "http": names.API_PORT,
                    "proxied": self._gateway.proxied_api_port,
                    "metrics": names.METRICS_PORT,
                },
                readiness={"http_get": {"path": "/api/health", "port": "http"}},
                clusters_rules=[
                    {"api_groups": [""], "resources": ["secrets"], "verbs": ["get", "create"]},
                    {
                        "api_groups": ["gateway.dask.org"],
                        "resources": ["daskclusters"],
                        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
                    },
                ],
                resources=PYTHON_RESOURCES,
                replicas=self._gateway.api_replicas,
                takes_requests=True,
                mounts=mounts,
                annotations={
                    **SCRAPED,
                    CONFIGURATION_ANNOTATION: configuration,
                    "af-dask-gateway/hub-token": pulumi.Output.from_input(self._args.hub_token).apply(digest),
                },
                depends_on=[*self._args.definitions, self.site, self.hub_token, *([self.trust] if self.trust else [])],
            ),
            opts=self._child,
        )

    def _api_service(self) -> Service:
        name = names.api_name(self._gateway.release)
        return Service(
            name,
            metadata={**self._metadata(name), "annotations": DO_NOT_WAIT},
            spec={
                "selector": self.api.labels,
                "ports": [
                    {"name": "http", "port": names.API_PORT, "target_port": "http"},
                    {"name": "proxied", "port": self._gateway.proxied_api_port, "target_port": "proxied"},
                ],
            },
            opts=self._child,
        )

    def _clusters_account(self) -> ServiceAccount:
        """Declare the ServiceAccount of users' pods: it has no rights, and no pod gets its token."""
        metadata = {
            **self._metadata(names.clusters_account_name(self._gateway.release)),
            "namespace": self._args.clusters_namespace,
        }
        return ServiceAccount(
            "clusters-account", metadata=metadata, automount_service_account_token=False, opts=self._child
        )

    def _trust_mounts(self) -> list[Mount]:
        """Return the mount of the site's certificate authorities, for components that ask the directory or the hub."""
        directories = sorted({posixpath.dirname(path) for path in self._args.authorities})
        return [_config_mount("trust", path, self._object_name("trust")) for path in directories]

    def _lease(self) -> Lease:
        """Declare the Lease that the controller holds while it works (:mod:`gateway.kubernetes.controller.lease`)."""
        name = names.controller_name(self._gateway.release)
        options = pulumi.ResourceOptions(parent=self, ignore_changes=["spec"])
        return Lease(name, metadata=self._metadata(name), opts=options)

    def _controller(self, site_mount: Mount, configuration: str) -> Workload:
        return Workload(
            CONTROLLER_COMPONENT,
            WorkloadArgs(
                gateway=self._gateway,
                namespace=self._gateway.namespace,
                clusters_namespace=self._args.clusters_namespace,
                name=names.controller_name(self._gateway.release),
                component=CONTROLLER_COMPONENT,
                image=self._gateway.images.server,
                arguments=["python", "-m", "gateway.kubernetes", "controller"],
                ports={"http": names.API_PORT, "metrics": names.METRICS_PORT},
                # The controller has no HTTP route to probe.
                readiness={"tcp_socket": {"port": "http"}},
                rules=self._controller_rules(),
                clusters_rules=CONTROLLER_CLUSTERS_RULES,
                resources=PYTHON_RESOURCES,
                # A rolling update would deadlock: the new pod waits for the lease, which the old pod holds, and
                # Kubernetes keeps the old pod until the new pod is ready.
                recreate=True,
                mounts=[site_mount, *self._trust_mounts()],
                annotations={**SCRAPED, CONFIGURATION_ANNOTATION: configuration},
                depends_on=[
                    *self._args.definitions,
                    self.site,
                    self.lease,
                    self.clusters_account,
                    *([self.trust] if self.trust else []),
                ],
            ),
            opts=self._child,
        )

    def _controller_rules(self) -> list[dict[str, list[str]]]:
        release = self._gateway.release
        return [
            {
                "api_groups": ["coordination.k8s.io"],
                "resources": ["leases"],
                "resource_names": [names.controller_name(release)],
                "verbs": ["get", "patch"],
            },
            # The controller reads since when schedulers can report their clients.
            {
                "api_groups": ["apps"],
                "resources": ["deployments"],
                "resource_names": [names.api_name(release)],
                "verbs": ["get"],
            },
        ]


def _config_mount(name: str, path: str, config_map: str) -> Mount:
    return Mount(name, path, {"config_map": {"name": config_map}})
