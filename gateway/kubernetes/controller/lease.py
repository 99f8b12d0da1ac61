"""One at a time: a Lease of Kubernetes that a process holds while it works.

A Deployment alone does not see to that: when a pod is deleted or evicted, or its node is lost, its successor starts
while it still runs.
"""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from kubernetes_asyncio import client

from gateway.kubernetes.connection import FAULTS, message_of

LEASE_SECONDS = 40
"""Without news of its holder for so long, others take it; as long as the lease of a node (the kubelet's
``nodeLeaseDurationSeconds``)."""
GIVE_UP_SECONDS = 30.0
"""A holder that could not renew it for so long ends, a pause and a question later at most: before others begin."""
RENEWAL_SECONDS = 15.0
"""Between renewals; one that fails can be tried seven times more before its holder gives up."""
PAUSE_SECONDS = 2.0
"""Between looks, and after a renewal that failed."""
ASKING_SECONDS = 2.0
"""How long Kubernetes may take to answer."""


class Lease:
    """A Lease object that exists, and who we are for it."""

    def __init__(
        self,
        coordination_client: client.CoordinationV1Api,
        name: str,
        namespace: str,
        holder: str,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``holder`` is a name that no two running processes have, but that a restarted one has again."""
        self._client, self._name, self._namespace, self._holder = coordination_client, name, namespace, holder
        self._log, self._clock = log, clock
        self._version, self._changed = "", 0.0
        self._found: str | None = None
        """Who held it when we last saw it."""

    async def acquire(self) -> None:
        """Wait until it is ours: free, given up, or not renewed for its time as this process' clock counts it."""
        while True:
            if await self._tried(self._take):
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def keep(self) -> None:
        """Renew it; returns when somebody else has it, or may have it soon."""
        renewed, is_known = self._clock(), True
        while self._found == self._holder and self._clock() - renewed < GIVE_UP_SECONDS:
            await asyncio.sleep(RENEWAL_SECONDS if is_known else PAUSE_SECONDS)
            asked = self._clock()
            # Nobody's change is overwritten without a look, and without a change there is nothing to look at.
            renew = self._write if is_known else self._replace
            is_known = await self._tried(functools.partial(renew, self._holder))
            if is_known:
                renewed = asked

    async def release(self) -> None:
        """Leave it to the next one. Best effort: without it, the next one waits for its time to pass."""
        await self._tried(lambda: self._replace(None))

    async def _tried(self, action: Callable[[], Awaitable[bool]]) -> bool:
        """What an action says; False when Kubernetes can't be asked, or when somebody was faster."""
        try:
            async with asyncio.timeout(ASKING_SECONDS):
                return await action()
        except FAULTS as error:
            self._log.warning("The lease %s can't be had or kept now: %s", self._name, message_of(error))
            return False

    async def _take(self) -> bool:
        holder = await self._read()
        if holder and holder != self._holder and self._clock() - self._changed < LEASE_SECONDS:
            self._log.info("Waiting for the lease %s, which %s holds", self._name, holder)
            return False
        return await self._write(self._holder)

    async def _replace(self, holder: str | None) -> bool:
        return await self._read() == self._holder and await self._write(holder)

    async def _read(self) -> str | None:
        """Who holds it."""
        lease = await self._client.read_namespaced_lease(self._name, self._namespace)
        if lease.metadata.resource_version != self._version:
            self._version, self._changed = lease.metadata.resource_version, self._clock()
        self._found = lease.spec.holder_identity if lease.spec else None
        return self._found

    async def _write(self, holder: str | None) -> bool:
        """Note the holder, unless the Lease has changed since it was read: then ``ApiException`` 409."""
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        change = {"metadata": {"resourceVersion": self._version}, "spec": spec}
        lease = await self._client.patch_namespaced_lease(
            self._name, self._namespace, change, _content_type="application/merge-patch+json"
        )
        self._version, self._changed, self._found = lease.metadata.resource_version, self._clock(), holder
        return True
