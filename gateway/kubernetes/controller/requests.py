"""The configuration of a cluster's pods, for an account that the controller looks up itself."""

from collections.abc import Mapping
from typing import Any

from dask_gateway_server.backends.kubernetes.backend import KubeClusterConfig

from gateway.identity import verified
from gateway.identity.directory import Directory
from gateway.kubernetes import cluster_spec, pods
from gateway.site import Site


class Requests:
    """Turn DaskClusters, which say what a user wants, into the configuration of pods."""

    def __init__(self, site: Site, directory: Directory) -> None:
        self._site, self._directory = site, directory

    async def with_config(self, cluster: Mapping[str, Any]) -> dict[str, Any]:
        """Return the DaskCluster with ``spec.config``, from which upstream's controller makes pods.

        Raises :class:`gateway.errors.Refusal` when the options or the account are not those of the user.
        """
        username = cluster["spec"]["username"]
        user_class = cluster_spec.class_of(username, self._site)
        account = await verified.account_of(
            username, user_class, cluster_spec.named_account(cluster), self._site.identity, self._directory
        )
        request = cluster_spec.request_of(cluster, account, self._site)
        config = KubeClusterConfig(**pods.cluster_config(self._site, request)).to_dict()
        return {**cluster, "spec": {**cluster["spec"], "config": config}}
