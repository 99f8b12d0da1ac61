"""The gateway's own proxy: Traefik carries clients to schedulers by SNI, and serves API and dashboards."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import yaml
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import Secret

from gateway.kubernetes import names
from gateway.site import KubernetesGateway
from gateway.tls import new_keypair
from infra.exposure import ExposedService, ServiceArgs, ingress
from infra.quantities import Amounts
from infra.workload import SECRET_MODE, Mount, Workload, WorkloadArgs

RESOURCES = Amounts(cores=0.1, cores_limit=2, memory_gib=0.125, memory_limit_gib=2)
WEB_CONTAINER_PORT = 8000
WEB_PORT = 80
READY_PATH = "/-/ready"
CERTIFICATE = "/etc/traefik/certificate"
STORES = "stores.yaml"
WEB_CLOSING_SECONDS = 25
"""How long requests of the API and dashboards may take to end: longer than the API lets a client wait (20 s)."""


class Proxy(pulumi.ComponentResource):
    """Traefik with its routes to the API, its Service and its Ingress."""

    def __init__(
        self,
        name: str,
        gateway: KubernetesGateway,
        namespace: pulumi.Input[str],
        definitions: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("af-dask-gateway:infra:Proxy", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self._gateway, self._namespace, self._definitions = gateway, namespace, definitions
        self.ready_route = self._ready_route()
        self.api_route = self._api_route()
        self.clusters_middleware = self._clusters_middleware()
        self.certificate = self._certificate()
        self.workload = Workload("traefik", self._workload(), opts=child)
        release = gateway.release
        service_name = names.proxy_name(release)
        self.service = ExposedService(
            "traefik-service",
            ServiceArgs(
                name=service_name,
                namespace=namespace,
                labels=self.workload.labels,
                exposure=gateway.proxy_exposure,
                ports=[
                    {"name": "web", "port": WEB_PORT, "target_port": "web"},
                    {"name": "scheduler", "port": gateway.proxy_port, "target_port": "scheduler"},
                ],
                public_ports=["scheduler"],
                selector=self.workload.labels,
            ),
            opts=child,
        )
        self.ingress = ingress(
            release,
            namespace=namespace,
            labels=names.common_labels(release),
            ingress_class=gateway.ingress_class,
            host=gateway.host,
            service=service_name,
            port=WEB_PORT,
            opts=child,
        )
        self.register_outputs({})

    def _workload(self) -> WorkloadArgs:
        return WorkloadArgs(
            gateway=self._gateway,
            namespace=self._namespace,
            name=names.proxy_name(self._gateway.release),
            component="traefik",
            image=self._gateway.images.traefik,
            arguments=_arguments(self._gateway),
            ports={"web": WEB_CONTAINER_PORT, "scheduler": names.SCHEDULER_PORT},
            # A route, because Traefik's own /ping says ready even when it can't read any route.
            readiness={"http_get": {"path": READY_PATH, "port": "web"}},
            rules=[
                {"api_groups": [""], "resources": ["services", "secrets", "configmaps"], "verbs": ["list", "watch"]},
                {"api_groups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
                {"api_groups": ["traefik.io"], "resources": ["*"], "verbs": ["list", "watch"]},
            ],
            resources=RESOURCES,
            replicas=self._gateway.proxy_replicas,
            takes_requests=True,
            mounts=[
                Mount(
                    "certificate",
                    CERTIFICATE,
                    {"secret": {"secret_name": self._certificate_name(), "default_mode": SECRET_MODE}},
                )
            ],
            closing_seconds=_scheduler_closing_seconds(self._gateway) + WEB_CLOSING_SECONDS,
            depends_on=[*self._definitions, self.ready_route, self.certificate],
        )

    def _object(self, kind: str, name: str, spec: Mapping[str, Any]) -> CustomResource:
        labels = {**names.common_labels(self._gateway.release), names.INSTANCE_LABEL: self._gateway.release}
        return CustomResource(
            f"{kind.lower()}-{name}",
            api_version="traefik.io/v1alpha1",
            kind=kind,
            metadata={"name": name, "namespace": self._namespace, "labels": labels},
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self._definitions)),
        )

    def _ready_route(self) -> CustomResource:
        route = {
            "kind": "Rule",
            "match": f"Path(`{READY_PATH}`)",
            # Before the API's route, whatever the lengths of the two rules.
            "priority": 1000,
            "services": [{"kind": "TraefikService", "name": "ping@internal"}],
        }
        name = f"ready-{self._gateway.release}"
        return self._object("IngressRoute", name, {"entryPoints": [names.WEB_ENTRYPOINT], "routes": [route]})

    def _api_route(self) -> CustomResource:
        name = names.api_name(self._gateway.release)
        route = {
            "kind": "Rule",
            "match": "PathPrefix(`/`)",
            "services": [{"name": name, "port": names.API_PORT}],
        }
        return self._object("IngressRoute", name, {"entryPoints": [names.WEB_ENTRYPOINT], "routes": [route]})

    def _certificate(self) -> Secret:
        """What clients get that ask for a cluster which is not there (yet), made once.

        Without one Traefik 3.7 makes an RSA key for it whenever a route or an address changes: a fifth of a second in
        which a new cluster can't be reached. From a file, because a TLSStore would be for all Traefiks that see it.
        """
        certificate, key = new_keypair(names.proxy_name(self._gateway.release))
        files = {"certFile": f"{CERTIFICATE}/tls.crt", "keyFile": f"{CERTIFICATE}/tls.key"}
        stores = yaml.safe_dump({"tls": {"stores": {"default": {"defaultCertificate": files}}}})
        content = {"tls.crt": certificate, "tls.key": key, STORES: stores.encode()}
        return Secret(
            "traefik-certificate",
            metadata={
                "name": self._certificate_name(),
                "namespace": self._namespace,
                "labels": names.common_labels(self._gateway.release),
            },
            data={name: pulumi.Output.secret(b64encode(value).decode()) for name, value in content.items()},
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["data"]),
        )

    def _certificate_name(self) -> str:
        return f"certificate-{names.proxy_name(self._gateway.release)}"

    def _clusters_middleware(self) -> CustomResource:
        name = names.clusters_middleware_name(self._gateway.release)
        return self._object("Middleware", name, {"stripPrefixRegex": {"regex": ["/clusters/[a-zA-Z0-9.-]+"]}})


def _scheduler_closing_seconds(gateway: KubernetesGateway) -> int:
    """How long clients keep their connections to schedulers through a Traefik that was told to end.

    A client that loses its connection loses its work: it cancels all of its futures (``Client._reconnect`` of
    distributed 2026.8.0). No connection is older than its cluster.
    """
    return gateway.timeouts.lifetime_seconds


def _arguments(gateway: KubernetesGateway) -> list[str]:
    return [
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--log.level=INFO",
        "--ping=true",
        "--ping.manualrouting=true",
        f"--entrypoints.{names.WEB_ENTRYPOINT}.address=:{WEB_CONTAINER_PORT}",
        f"--entrypoints.{names.SCHEDULER_ENTRYPOINT}.address=:{names.SCHEDULER_PORT}",
        f"--entrypoints.{names.WEB_ENTRYPOINT}.transport.lifecycle.gracetimeout={WEB_CLOSING_SECONDS}s",
        f"--entrypoints.{names.SCHEDULER_ENTRYPOINT}.transport.lifecycle.gracetimeout="
        f"{_scheduler_closing_seconds(gateway)}s",
        # "X_Forwarded_User" passes for "X-Forwarded-User" with some servers.
        f"--entrypoints.{names.WEB_ENTRYPOINT}.http.aliasheadersstrategy=delete",
        f"--entrypoints.{names.SCHEDULER_ENTRYPOINT}.http.aliasheadersstrategy=delete",
        f"--providers.file.filename={CERTIFICATE}/{STORES}",
        "--providers.file.watch=false",
        "--providers.kubernetescrd=true",
        "--providers.kubernetescrd.safenaming=true",
        f"--providers.kubernetescrd.namespaces={gateway.namespace}",
        f"--providers.kubernetescrd.labelselector={names.INSTANCE_LABEL}={gateway.release}",
        # So that Roles in the namespace are enough: no look at nodes and ingress classes.
        "--providers.kubernetescrd.disableclusterscoperesources=true",
        # Routes are made before their scheduler's pod has an address.
        "--providers.kubernetescrd.allowemptyservices=true",
        # A throttled route makes new clusters' clients wait and back off (upstream's chart has 2 s).
        "--providers.kubernetescrd.throttleduration=0",
        "--providers.providersthrottleduration=0s",
    ]
