"""The gateway's proxy, Traefik: routes clients to schedulers by SNI, and HTTP to the API server and to dashboards."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import yaml
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import ConfigMap, Secret

from gateway.kubernetes import names
from gateway.service.tls import new_keypair
from gateway.site import KubernetesGateway
from infra import proxy_file
from infra.exposure import ExposedService, ServiceArgs, ingress
from infra.quantities import Amounts
from infra.workload import CONFIGURATION_ANNOTATION, SECRET_MODE, Mount, Workload, WorkloadArgs, digest

PROXY_COMPONENT = "traefik"
RESOURCES = Amounts(cores=0.1, cores_limit=2, memory_gib=0.125, memory_limit_gib=2)
WEB_CONTAINER_PORT = 8000
WEB_PORT = 80
READY_PATH = "/-/ready"
CERTIFICATE = "/etc/traefik/certificate"
"""Mount path of the Secret with the default certificate."""
CONFIGURATION = "/etc/traefik/configuration"
"""Mount path of the ConfigMap with Traefik's file (:mod:`infra.proxy_file`)."""
FILE = "dynamic.yaml"
"""Name of that file. A ``traefik.yaml`` could be taken for the static configuration, which is in the arguments."""
WEB_CLOSING_SECONDS = 25
"""How long Traefik waits, after SIGTERM, for requests to the API server and to dashboards: longer than the API server's
longest poll (20 s)."""


class Proxy(pulumi.ComponentResource):
    """Traefik's Deployment with its route to the API server, its default certificate, its Service and its Ingress.

    Traefik reads the routes of clusters, and what belongs to them, in the clusters' namespace.
    """

    def __init__(
        self,
        name: str,
        gateway: KubernetesGateway,
        clusters_namespace: pulumi.Input[str],
        definitions: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("af-dask-gateway:infra:Proxy", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self._gateway, self._clusters_namespace, self._definitions = gateway, clusters_namespace, definitions
        self._file = yaml.safe_dump(proxy_file.configuration(gateway, CERTIFICATE))
        self.configuration = self._configuration()
        self.ready_route = self._ready_route()
        self.clusters_middleware = self._clusters_middleware()
        self.certificate = self._certificate()
        self.workload = Workload(PROXY_COMPONENT, self._workload(), opts=child)
        release = gateway.release
        service_name = names.proxy_name(release)
        self.service = ExposedService(
            "traefik-service",
            ServiceArgs(
                name=service_name,
                namespace=gateway.namespace,
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
            namespace=gateway.namespace,
            labels=names.common_labels(release),
            ingress_class=gateway.ingress_class,
            host=gateway.host,
            tls=gateway.tls,
            service=service_name,
            port=WEB_PORT,
            opts=child,
        )
        self.register_outputs({})

    def _workload(self) -> WorkloadArgs:
        return WorkloadArgs(
            gateway=self._gateway,
            namespace=self._gateway.namespace,
            clusters_namespace=self._clusters_namespace,
            name=names.proxy_name(self._gateway.release),
            component=PROXY_COMPONENT,
            image=self._gateway.images.traefik,
            arguments=_arguments(self._gateway),
            ports={"web": WEB_CONTAINER_PORT, "scheduler": names.SCHEDULER_PORT},
            # Probe a route, because Traefik's /ping answers 200 even while Traefik can't read any route.
            readiness={"http_get": {"path": READY_PATH, "port": "web"}},
            clusters_rules=[
                {"api_groups": [""], "resources": ["services", "secrets", "configmaps"], "verbs": ["list", "watch"]},
                {"api_groups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
                {"api_groups": ["traefik.io"], "resources": ["*"], "verbs": ["list", "watch"]},
            ],
            resources=RESOURCES,
            replicas=self._gateway.proxy_replicas,
            takes_requests=True,
            mounts=[
                Mount("configuration", CONFIGURATION, {"config_map": {"name": self._configuration_name()}}),
                Mount(
                    "certificate",
                    CERTIFICATE,
                    {"secret": {"secret_name": self._certificate_name(), "default_mode": SECRET_MODE}},
                ),
            ],
            closing_seconds=_scheduler_closing_seconds(self._gateway) + WEB_CLOSING_SECONDS,
            # Traefik reads its file only once.
            annotations={CONFIGURATION_ANNOTATION: digest(self._file)},
            depends_on=[*self._definitions, self.ready_route, self.certificate, self.configuration],
        )

    def _object(self, kind: str, name: str, spec: Mapping[str, Any]) -> CustomResource:
        labels = {**names.common_labels(self._gateway.release), names.INSTANCE_LABEL: self._gateway.release}
        return CustomResource(
            f"{kind.lower()}-{name}",
            api_version="traefik.io/v1alpha1",
            kind=kind,
            metadata={"name": name, "namespace": self._clusters_namespace, "labels": labels},
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self._definitions)),
        )

    def _ready_route(self) -> CustomResource:
        route = {
            "kind": "Rule",
            "match": f"Path(`{READY_PATH}`)",
            # Traefik's default priority is the rule's length. This number precedes the API server's route in any case.
            "priority": 1000,
            "services": [{"kind": "TraefikService", "name": "ping@internal"}],
        }
        name = f"ready-{self._gateway.release}"
        return self._object("IngressRoute", name, {"entryPoints": [names.WEB_ENTRYPOINT], "routes": [route]})

    def _certificate(self) -> Secret:
        """Declare Traefik's default certificate, which clients get when no route has their SNI name (yet).

        Without this Secret, Traefik 3.7 generates an RSA key for a default certificate whenever a route or an address
        changes. That takes 0.2 s, in which clients can't reach a new cluster. Traefik reads the certificate from a
        file, because a TLSStore would apply to every Traefik that watches it, and from its pod's volume, because it has
        no right to read this namespace's Secrets. Pulumi creates the Secret once and
        ignores later differences of its data.
        """
        certificate, key = new_keypair(names.proxy_name(self._gateway.release))
        content = {"tls.crt": certificate, "tls.key": key}
        return Secret(
            "traefik-certificate",
            metadata=self._metadata(self._certificate_name()),
            data={name: pulumi.Output.secret(b64encode(value).decode()) for name, value in content.items()},
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["data"]),
        )

    def _configuration(self) -> ConfigMap:
        return ConfigMap(
            "traefik-configuration",
            metadata=self._metadata(self._configuration_name()),
            data={FILE: self._file},
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _configuration_name(self) -> str:
        return f"configuration-{names.proxy_name(self._gateway.release)}"

    def _metadata(self, name: str) -> dict[str, Any]:
        labels = names.common_labels(self._gateway.release)
        return {"name": name, "namespace": self._gateway.namespace, "labels": labels}

    def _certificate_name(self) -> str:
        return f"certificate-{names.proxy_name(self._gateway.release)}"

    def _clusters_middleware(self) -> CustomResource:
        name = names.clusters_middleware_name(self._gateway.release)
        return self._object("Middleware", name, {"stripPrefixRegex": {"regex": ["/clusters/[a-zA-Z0-9.-]+"]}})


def _scheduler_closing_seconds(gateway: KubernetesGateway) -> int:
    """Return how many seconds Traefik keeps connections to schedulers open after SIGTERM: the lifetime of a cluster.

    A client that loses its connection cancels all of its futures (``Client._reconnect`` of distributed 2026.8.0). No
    connection is older than its cluster, so no connection outlasts the lifetime.
    """
    return gateway.timeouts.lifetime_seconds


def _arguments(gateway: KubernetesGateway) -> list[str]:
    trusted = ",".join(str(network) for network in gateway.trusted_proxies)
    return [
        *([f"--entrypoints.{names.WEB_ENTRYPOINT}.forwardedheaders.trustedips={trusted}"] if trusted else ()),
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
        # Some servers read the header "X_Forwarded_User" as "X-Forwarded-User".
        f"--entrypoints.{names.WEB_ENTRYPOINT}.http.aliasheadersstrategy=delete",
        f"--entrypoints.{names.SCHEDULER_ENTRYPOINT}.http.aliasheadersstrategy=delete",
        f"--providers.file.filename={CONFIGURATION}/{FILE}",
        "--providers.file.watch=false",
        "--providers.kubernetescrd=true",
        "--providers.kubernetescrd.safenaming=true",
        f"--providers.kubernetescrd.namespaces={gateway.clusters_namespace}",
        f"--providers.kubernetescrd.labelselector={names.INSTANCE_LABEL}={gateway.release}",
        # Traefik does not list nodes and ingress classes, so Roles in the namespace suffice.
        "--providers.kubernetescrd.disableclusterscoperesources=true",
        # The controller creates a cluster's routes before the scheduler pod has an address.
        "--providers.kubernetescrd.allowemptyservices=true",
        # With a throttle (2 s in upstream's chart), a new route comes late: the cluster's client retries and backs off.
        "--providers.kubernetescrd.throttleduration=0",
        "--providers.providersthrottleduration=0s",
    ]
