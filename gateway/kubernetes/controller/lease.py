"""A Lease of Kubernetes that a process holds while it works, so that only one controller works at a time.

A Deployment does not guarantee that: after a pod is deleted or evicted, or its node is lost, Kubernetes starts another
pod while the first one may still run.
"""

import asyncio
import functools
import logging
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from kubernetes_asyncio import client

from gateway.kubernetes.connection import FAULTS, message_of

LEASE_SECONDS = 40
"""Other processes take a Lease that has not been renewed for so long; as long as a node's Lease (the kubelet's
``nodeLeaseDurationSeconds``)."""
GIVE_UP_SECONDS = 30.0
"""A holder that could not renew for so long ends, at most a pause and a request later: before the Lease expires for
others."""
RENEWAL_SECONDS = 15.0
"""Time between renewals; the holder can retry a failed one seven times before it gives up."""
PAUSE_SECONDS = 2.0
"""Time between polls, and between a failed renewal and its retry."""
REQUEST_SECONDS = 2.0
"""Timeout of a request to Kubernetes."""


class Lease:
    """A Lease object, which exists already, as one process acquires and renews it."""

    def __init__(
        self,
        coordination_client: client.CoordinationV1Api,
        name: str,
        namespace: str,
        holder: str,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``holder`` names this process: no two running processes share it, and a restarted process has it again."""
        self._client, self._name, self._namespace, self._holder = coordination_client, name, namespace, holder
        self._log, self._clock, self._sleep = log, clock, sleep
        self._version, self._changed = "", 0.0
        self._found: str | None = None
        """The holder at the last read or write."""

    async def acquire(self) -> None:
        """Wait until this process holds the Lease.

        It takes the Lease when it is free, released, or not renewed for :data:`LEASE_SECONDS` by this process' clock.
        """
        while not await self.try_acquire():
            await self._sleep(PAUSE_SECONDS)

    async def try_acquire(self) -> bool:
        """Take the Lease if it is free or expired; return whether this process holds it now."""
        return await self._attempt(self._take)

    async def try_renew(self) -> bool:
        """Read the Lease, and renew it if this process holds it; return whether it was renewed."""
        return await self._attempt(functools.partial(self._replace, self._holder))

    async def keep(self) -> None:
        """Renew the Lease until another process holds it, or may hold it soon."""
        renewed, is_known = self._clock(), True
        while self._found == self._holder and self._clock() - renewed < GIVE_UP_SECONDS:
            await self._sleep(RENEWAL_SECONDS if is_known else PAUSE_SECONDS)
            asked = self._clock()
            # A write without a read is safe: Kubernetes refuses it if the Lease has changed. Then a read is needed.
            if is_known:
                is_known = await self._attempt(functools.partial(self._write, self._holder))
            else:
                is_known = await self.try_renew()
            if is_known:
                renewed = asked

    async def keep_or_exit(self, exit_process: Callable[[int], object] = os._exit) -> None:
        """Renew the Lease; end the process at once, with exit code 1, when the Lease is lost."""
        await self.keep()
        self._log.critical(
            "The lease %s is lost. Another controller may have started, so this one exits at once.", self._name
        )
        # An orderly shutdown would finish the reconciles in progress, which the other controller does too.
        exit_process(1)

    async def release(self) -> None:
        """Release the Lease. Best effort: if that fails, the next holder waits until the Lease expires."""
        await self._attempt(functools.partial(self._replace, None))

    async def _attempt(self, action: Callable[[], Awaitable[bool]]) -> bool:
        """Return the result of an action; False when Kubernetes does not answer or another process was faster."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await action()
        except FAULTS as error:
            self._log.warning("The lease %s can't be acquired or renewed now: %s", self._name, message_of(error))
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
        """Read the Lease; return its holder."""
        lease = await self._client.read_namespaced_lease(self._name, self._namespace)
        if lease.metadata.resource_version != self._version:
            self._version, self._changed = lease.metadata.resource_version, self._clock()
        self._found = lease.spec.holder_identity if lease.spec else None
        return self._found

    async def _write(self, holder: str | None) -> bool:
        """Store the holder. Raises ``ApiException`` 409 when the Lease has changed since it was read."""
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
