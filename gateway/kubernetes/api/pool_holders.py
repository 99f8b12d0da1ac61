"""The holders of pool accounts, in a ConfigMap that all replicas of the API server change."""

import asyncio

from kubernetes_asyncio import client
from kubernetes_asyncio.client.rest import ApiException

from gateway.errors import Refusal
from gateway.identity import pool
from gateway.kubernetes.connection import CONFLICT

ATTEMPTS = 8
PAUSE_SECONDS = 0.05
"""Pause after the first attempt; it doubles with each attempt."""


class ConfigMapHolders:
    """Keep :class:`gateway.identity.pool.Holders` as the data of a ConfigMap: uid -> JupyterHub name."""

    def __init__(self, core_client: client.CoreV1Api, name: str, namespace: str) -> None:
        self._client, self._name, self._namespace = core_client, name, namespace

    async def hold(self, uid: int, username: str) -> None:
        """Give a pool account to a user.

        Raises :class:`Refusal` when another user holds the account, the user holds another account, or too many users
        get one at the same time; ``ApiException`` when Kubernetes refuses the request.
        """
        for attempt in range(ATTEMPTS):
            found = await self._client.read_namespaced_config_map(self._name, self._namespace)
            holders = {int(number): name for number, name in (found.data or {}).items()}
            if not pool.is_new(uid, username, holders):
                return
            try:
                await self._add(uid, username, found.metadata.resource_version)
                return
            except ApiException as error:
                if error.status != CONFLICT:
                    raise
            await asyncio.sleep(PAUSE_SECONDS * 2**attempt)
        raise Refusal("Many users get their account at the same time: try again.")

    async def _add(self, uid: int, username: str, version: str) -> None:
        """Add a holder. Raises ``ApiException`` 409 when the ConfigMap has changed since that version was read."""
        change = {"metadata": {"resourceVersion": version}, "data": {str(uid): username}}
        await self._client.patch_namespaced_config_map(
            self._name, self._namespace, change, _content_type="application/merge-patch+json"
        )
