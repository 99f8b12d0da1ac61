"""Watch of the gateway's jobs: poll squeue, end clusters whose scheduler's job has ended, cancel orphans."""

import asyncio
import contextlib
import logging
from typing import Any, Protocol

from dask_gateway_server.backends.db_base import Cluster, JobStatus

from gateway.errors import Refusal
from gateway.slurm import jobs, launcher_client, queries, records
from gateway.slurm.jobs import Owner
from gateway.slurm.launcher_client import LauncherError

POLL_SECONDS = 15
"""Period of the polls: bounds how late the gateway sees the end of a running scheduler's job."""
IDLE_POLLS = 4
"""How many polls without a cluster find orphans, after the last cluster has ended and after a start of the gateway."""
IDLE_SECONDS = 600
"""Longest wait between polls after those."""
MOST_ASKED = 4
"""Most jobs of one user that a poll asks squeue about one by one, so that no user delays the orphans of others."""


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
        self._foreign: set[str] = set()
        """Jobs and arrays that have the gateway's name and are not the gateway's; SLURM still lists them."""
        self._dropped = 0

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
        queue = await self.list_jobs()
        for cluster in running:
            number = cluster.state.get("job_id", "")
            if not queue.has_live(Owner.of(cluster), number):
                how = await self.how_ended(cluster, queue)
                backend.log.info(
                    "Cluster %s of %s: the scheduler's job has ended%s", cluster.name, cluster.username, how
                )
                await backend.stop_cluster(cluster.name, failed=True)
        await self._cancel_orphans(queue, submitting)

    async def list_jobs(self) -> jobs.Queue:
        """List the gateway's jobs; log when squeue prints a new number of lines that are no rows.

        Raises :class:`gateway.slurm.queries.CommandError` or ``OSError``.
        """
        queue = await queries.listed(self._backend.status_command)
        if queue.dropped != self._dropped:
            self._backend.log.warning("squeue prints %d lines that are not rows of jobs", queue.dropped)
        self._dropped = queue.dropped
        return queue

    async def _cancel_orphans(self, queue: jobs.Queue, submitting: set[str]) -> None:
        """Cancel jobs of this gateway that no cluster record knows, each as its own user.

        A gateway that is killed after sbatch and before it stores the job's id leaves an orphan. Clusters in
        ``submitting`` are skipped: the ids of their jobs are not recorded yet.
        """
        found = jobs.unrecorded(queue.jobs, records.job_ids(self._backend.db))
        self._foreign &= {array for arrays in found.values() for array in arrays}
        for uid, arrays in found.items():
            unknown = [array for array in arrays if array not in self._foreign]
            for array in unknown[:MOST_ASKED]:
                await self._cancel_orphan(uid, array, arrays[array], submitting)

    async def _cancel_orphan(self, uid: int, array: str, tasks: list[str], submitting: set[str]) -> None:
        backend, slurm = self._backend, self._backend.site.slurm
        try:
            owner = await queries.owner_of(backend.status_command, tasks[0], slurm.release, slurm.staging_directory)
        except (queries.CommandError, OSError) as error:
            backend.log.warning("squeue does not tell whose job %s is: %s", tasks[0], error)
            return
        if owner is None or owner.uid != uid:
            self._foreign.add(array)
            return
        # Read again: a cluster may have begun to submit, or have recorded its job, since the list was made.
        if owner.cluster in submitting | backend.submitting or not records.job_ids(backend.db).isdisjoint(tasks):
            return
        backend.log.info("Cancelling orphans of cluster %s of %s: %s", owner.cluster, owner.username, tasks)
        try:
            await launcher_client.act(owner, "cancel", jobs=tasks, remove=False)
        except (LauncherError, Refusal) as error:
            backend.log.error("Cancelling orphans of cluster %s failed: %s", owner.cluster, error)

    async def how_ended(self, cluster: Cluster, queue: jobs.Queue | None = None) -> str:
        """Return in brackets how the job of a cluster's scheduler ended; empty when SLURM does not say."""
        number = cluster.state.get("job_id", "")
        job = queue.job_of(Owner.of(cluster), number) if queue is not None else None
        how = await queries.end_of(self._backend.accounting_command, number) or (job.state if job else None)
        return f" ({how})" if how else ""
