"""What Traefik does to a request before a dashboard gets it: the login, and the removal of credentials."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from gateway.kubernetes import names
from gateway.service.dashboards import traefik
from gateway.site import KubernetesGateway


class DashboardMiddlewares(pulumi.ComponentResource):
    """The two Middlewares; the controller names them in each dashboard's route."""

    def __init__(
        self,
        name: str,
        gateway: KubernetesGateway,
        namespace: pulumi.Input[str],
        definitions: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("af-dask-gateway:infra:DashboardMiddlewares", name, {}, opts)
        self._gateway, self._namespace, self._definitions = gateway, namespace, definitions
        release = gateway.release
        self.login = self._middleware(
            names.dashboard_login_middleware_name(release), traefik.login(names.proxied_api_origin(gateway))
        )
        self.headers = self._middleware(names.dashboard_headers_middleware_name(release), traefik.without_credentials())
        self.register_outputs({})

    def _middleware(self, name: str, spec: Mapping[str, Any]) -> CustomResource:
        labels = {**names.common_labels(self._gateway.release), names.INSTANCE_LABEL: self._gateway.release}
        return CustomResource(
            f"middleware-{name}",
            api_version="traefik.io/v1alpha1",
            kind="Middleware",
            metadata={"name": name, "namespace": self._namespace, "labels": labels},
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self._definitions)),
        )
