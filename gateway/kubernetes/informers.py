"""Informers that API server and controller both have."""

from collections.abc import Callable
from typing import Any

from dask_gateway_server.backends.kubernetes.backend import KubeBackendAndControllerMixin
from dask_gateway_server.backends.kubernetes.utils import Informer


def cluster_informer(
    owner: KubeBackendAndControllerMixin, on_update: Callable[..., None], on_delete: Callable[..., None]
) -> Informer:
    """Follows the DaskClusters of its owner's namespace; upstream's follow all namespaces (dask/dask-gateway#661)."""
    selection: dict[str, Any] = {
        "group": "gateway.dask.org",
        "version": owner.crd_version,
        "namespace": owner.namespace,
        "plural": "daskclusters",
        "label_selector": owner.label_selector,
    }
    return Informer(
        parent=owner,
        name="cluster",
        client=owner.custom_client,
        method="list_namespaced_custom_object",
        method_kwargs=selection,
        on_update=on_update,
        on_delete=on_delete,
    )
