"""What Traefik does to a request before a dashboard gets it: the login, and the removal of credentials."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from gateway import settings
from gateway.kubernetes import names
from gateway.site import KubernetesGateway

CREDENTIALS = ("Authorization", "Cookie")
"""Headers of a visitor that the login reads, and that no user's scheduler gets."""
MOST_ANSWER_BYTES = 65536
"""Bound on the page that Traefik passes on in place of a dashboard."""


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
            names.dashboard_login_middleware_name(release),
            {
                "forwardAuth": {
                    "address": f"{names.api_origin(gateway)}{settings.DASHBOARD_AUTHORIZE_PATH}",
                    # A client must not choose the address about which Traefik asks.
                    "trustForwardHeader": False,
                    "authRequestHeaders": ["Accept", *CREDENTIALS],
                    "maxResponseBodySize": MOST_ANSWER_BYTES,
                }
            },
        )
        self.headers = self._middleware(
            names.dashboard_headers_middleware_name(release),
            # Traefik removes a header whose value is empty.
            {"headers": {"customRequestHeaders": dict.fromkeys(CREDENTIALS, "")}},
        )
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
