"""The objects that the controller creates, where they differ from upstream's."""

import secrets
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from dask_gateway_server.backends.kubernetes.controller import KubeController
from traitlets import Integer, Unicode

from gateway.kubernetes.controller.start_errors import SystemAccountError
from gateway.kubernetes.pod_paths import PRELOAD
from gateway.kubernetes.variables_secret import with_variables
from gateway.service.scheduler_reports import with_preload
from gateway.service.tls import new_keypair


class ManifestController(KubeController):  # type: ignore[misc] # upstream has no types
    """Upstream's controller with our pods, Secrets and Services."""

    namespace = Unicode(help="The namespace of all clusters.", config=True)
    minimum_uid = Integer(help="The least uid that pods may run as.", config=True)
    minimum_gid = Integer(help="The least gid that pods may have.", config=True)

    def get_scheduler_command(self, namespace: str, cluster_name: str, config: Any) -> list[str]:
        """Return upstream's command with our preload before upstream's preload, whose options follow it."""
        return with_preload(super().get_scheduler_command(namespace, cluster_name, config), PRELOAD)

    def make_secret(self, cluster_name: str) -> dict[str, Any]:
        """Return the cluster's key pair and token, under the keys that upstream's pods and API server read."""
        certificate, key = new_keypair(cluster_name)
        content = {"dask.crt": certificate, "dask.pem": key, "api-token": secrets.token_hex(16).encode()}
        labels = self.get_labels(cluster_name, "credentials")
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.make_secret_name(cluster_name), "labels": labels},
            "data": {name: b64encode(value).decode() for name, value in content.items()},
        }

    def make_pod(self, namespace: str, cluster_name: str, config: Any, is_worker: bool = False) -> dict[str, Any]:
        """Return upstream's pod with its user's variables.

        Raises :class:`SystemAccountError` when the pod would run as a system account.
        """
        pod = with_variables(super().make_pod(namespace, cluster_name, config, is_worker=is_worker), cluster_name)
        self._check_account(pod["spec"]["securityContext"])
        return pod

    def _check_account(self, context: Mapping[str, Any]) -> None:
        gids = (context["runAsGroup"], *context["supplementalGroups"])
        if context["runAsUser"] < max(self.minimum_uid, 1) or min(gids) < max(self.minimum_gid, 1):
            self.log.error("A pod may not have the uid %s and the gids %s", context["runAsUser"], gids)
            raise SystemAccountError("The cluster's account is not one of a user.")

    def make_service(self, cluster_name: str) -> dict[str, Any]:
        """Return upstream's Service without a selector: the controller creates its EndpointSlice (:mod:`.routes`).

        So a scheduler that is busy with a large graph, and fails its readiness probe, keeps its routes.
        """
        service: dict[str, Any] = super().make_service(cluster_name)
        spec = {key: value for key, value in service["spec"].items() if key != "selector"}
        return {**service, "spec": spec}
