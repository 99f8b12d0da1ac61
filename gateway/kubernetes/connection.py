"""The connection to Kubernetes' API server."""

from kubernetes_asyncio import client, config


async def open_client() -> client.ApiClient:
    """A client with the pod's service account, or with the kubeconfig's current context outside of a pod."""
    try:
        config.load_incluster_config()
    except config.ConfigException:
        await config.load_kube_config()
    return client.ApiClient()
