"""Who holds which account of the pool: a ConfigMap, which API servers change one after the other."""

import asyncio

from kubernetes_asyncio import client
from kubernetes_asyncio.client.rest import ApiException

from gateway.errors import Refusal
from gateway.identity import pool
from gateway.kubernetes.connection import CONFLICT

ATTEMPTS = 8
PAUSE_SECONDS = 0.05
"""Between attempts, each time longer."""


class ConfigMapHolders:
    """Keep :class:`gateway.identity.pool.Holders` as the data of a ConfigMap: uid -> JupyterHub name."""

    def __init__(self, core_client: client.CoreV1Api, name: str, namespace: str) -> None:
        self._client, self._name, self._namespace = core_client, name, namespace

    async def hold(self, uid: int, username: str) -> None:
        """Give the account to the user. Raises :class:`Refusal`; ``ApiException`` when Kubernetes can't be asked."""
        for attempt in range(ATTEMPTS):
            found = await self._client.read_namespaced_config_map(self._name, self._namespace)
            holders = {int(number): name for number, name in (found.data or {}).items()}
            if not pool.is_new(uid, username, holders):
                return
            try:
                await self._note(uid, username, found.metadata.resource_version)
                return
            except ApiException as error:
                if error.status != CONFLICT:
                    raise
            await asyncio.sleep(PAUSE_SECONDS * 2**attempt)
        raise Refusal("Many users got their account at this moment; try again.")

    async def _note(self, uid: int, username: str, version: str) -> None:
        """Add a holder, unless the ConfigMap has changed since that version was read."""
        change = {"metadata": {"resourceVersion": version}, "data": {str(uid): username}}
        await self._client.patch_namespaced_config_map(
            self._name, self._namespace, change, _content_type="application/merge-patch+json"
        )
