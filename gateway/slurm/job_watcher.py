"""Watch of the gateway's jobs: poll squeue, end clusters whose scheduler's job has ended, cancel orphans."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from dask_gateway_server.backends.db_base import JobStatus

from gateway.slurm import jobs, launcher_client, queries, records
from gateway.slurm.launcher_client import LauncherError

POLL_SECONDS = 15
"""Period of the polls: bounds how late the gateway sees the end of a running scheduler's job."""
IDLE_POLLS = 4
"""How many polls without a cluster find orphans, after the last cluster has ended and after a start of the gateway."""
IDLE_SECONDS = 600
"""Longest wait between polls after those."""


class WatchedBackend(Protocol):
    """What the watcher uses of the back end."""

    db: Any
    log: logging.Logger
    site: Any
    status_command: str
    accounting_command: str
    submitting: set[str]

    async def wait_for_cluster(self) -> None:
        """Return when a cluster exists that has not ended."""

    async def stop_cluster(self, cluster_name: str, failed: bool = False) -> None:
        """End a cluster."""


class JobWatcher:
    """Polls squeue for all jobs of the gateway."""

    def __init__(self, backend: WatchedBackend) -> None:
        self._backend = backend

    async def run(self) -> None:
        """Poll until the task is cancelled, seldom while no cluster exists."""
        idle_polls = 0
        while True:
            if idle_polls >= IDLE_POLLS:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._backend.wait_for_cluster(), IDLE_SECONDS)
            # Wait also after a cluster is created: its start needs the processor first.
            await asyncio.sleep(POLL_SECONDS)
            idle_polls = 0 if records.present_clusters(self._backend.db) else idle_polls + 1
            try:
                await self.poll()
            except (queries.CommandError, OSError) as error:
                self._backend.log.error("Polling SLURM's jobs failed, retry in %d s: %s", POLL_SECONDS, error)
                idle_polls = 0

    async def poll(self) -> None:
        """End clusters whose scheduler's job has ended, and cancel orphans.

        Raises :class:`gateway.slurm.queries.CommandError` or ``OSError`` when squeue fails.
        """
        backend = self._backend
        running = [cluster for cluster in backend.db.active_clusters() if cluster.status == JobStatus.RUNNING]
        submitting = set(backend.submitting)
        known = await queries.listed(backend.status_command)
        for cluster in running:
            number = cluster.state.get("job_id", "")
            if number not in known or not known[number].is_alive:
                how = await self.how_ended(number, known)
                backend.log.info(
                    "Cluster %s of %s: the scheduler's job has ended%s", cluster.name, cluster.username, how
                )
                await backend.stop_cluster(cluster.name, failed=True)
        await self._cancel_orphans(known, submitting | backend.submitting)

    async def _cancel_orphans(self, known: Mapping[str, jobs.Job], submitting: set[str]) -> None:
        backend = self._backend
        orphans = jobs.orphans(known, records.job_ids(backend.db), submitting, backend.site.slurm.release)
        for owner, numbers in orphans.items():
            backend.log.info("Cancelling orphans of cluster %s of %s: %s", owner.cluster, owner.username, numbers)
            try:
                await launcher_client.act(owner, "cancel", jobs=numbers, remove=False)
            except LauncherError as error:
                backend.log.error("Cancelling orphans of cluster %s failed: %s", owner.cluster, error)

    async def how_ended(self, number: str, known: Mapping[str, jobs.Job] | None = None) -> str:
        """Return in brackets how a job ended; empty when neither accounting nor ``known``, squeue's list, has it."""
        queued = known[number].state if known and number in known else None
        how = await queries.end_of(self._backend.accounting_command, number) or queued
        return f" ({how})" if how else ""
