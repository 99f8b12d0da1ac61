"""Workers on SLURM: grants, arrays of jobs, and the cancelling of workers' jobs."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dask_gateway_server.backends.db_base import Cluster, JobStatus, Worker
from dask_gateway_server.utils import timestamp

from gateway.errors import Refusal
from gateway.request import quota
from gateway.service.supervision import counted
from gateway.slurm import grants, jobs, launcher_client, records, submission
from gateway.slurm.jobs import Owner
from gateway.slurm.launcher_client import LauncherError
from gateway.slurm.start import StartBackend

RECORDS_AT_ONCE = 250
"""Records that one turn of the event loop writes. Bounds how long it blocks: a record takes less than 100 us."""
RETRY_SECONDS = 10
"""Wait before the gateway submits workers again that SLURM did not accept."""


class WorkerBackend(StartBackend):
    """The part of the back end that scales clusters."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._cancelling: set[str] = set()
        """Workers whose jobs are being cancelled."""
        self._not_accepted: dict[str, str] = {}
        """Cluster -> why SLURM did not accept its workers at the last submission."""

    async def _check_cluster_scale(self, cluster: Cluster) -> None:
        """Do what upstream does, with one array for all missing workers that the site's bounds grant.

        Upstream submits the workers one by one, and fails a cluster whose workers SLURM does not accept for a moment.
        """
        if cluster.worker_start_failure_count >= self.worker_start_failure_limit:
            await super()._check_cluster_scale(cluster)
            return
        await self._create_workers(cluster)
        waiting = [
            worker
            for worker in cluster.workers.values()
            if worker.status == JobStatus.CREATED and worker.target == JobStatus.RUNNING
        ]
        for start in range(0, len(waiting), jobs.MOST_TASKS):
            await self.submit_workers(cluster, waiting[start : start + jobs.MOST_TASKS])

    async def _create_workers(self, cluster: Cluster) -> None:
        """Create the records of the granted workers, in batches that leave the event loop to others in between.

        Each batch is granted anew: other clusters of the user may have grown meanwhile.
        """
        while True:
            clusters = records.clusters_of(self.db, cluster.username)
            grant = grants.grant(self._total, clusters, cluster)
            if grant <= 0:
                return
            records.create_workers(self.db, cluster, min(grant, RECORDS_AT_ONCE))
            await asyncio.sleep(0)

    async def _worker_to_submitted(self, worker: Worker) -> None:
        """Do nothing: :meth:`_check_cluster_scale` submits workers."""

    async def submit_workers(self, cluster: Cluster, workers: Sequence[Worker]) -> None:
        """Submit an array with one task for each worker; requeue the cluster when SLURM does not accept it."""
        command = self.get_worker_command(cluster, submission.TASK_NAME)
        names = [worker.name for worker in workers]
        self.submitting.add(cluster.name)
        try:
            folder = self.get_staging_directory(cluster)
            job = submission.worker_jobs(self.site.slurm, cluster, folder, command, names)
            number = (await launcher_client.act(Owner.of(cluster), "submit", **job))["job"]
            self.log.info("%d workers of cluster %s submitted as job %s", len(workers), cluster.name, number)
            # A worker that was stopped meanwhile becomes SUBMITTED too: then its job is cancelled as any other.
            await self._update_workers(
                [
                    (worker, {"status": JobStatus.SUBMITTED, "state": {"job_id": f"{number}_{task}"}})
                    for task, worker in enumerate(workers)
                ]
            )
            self._not_accepted.pop(cluster.name, None)
        except (LauncherError, Refusal, OSError) as error:
            self._not_accepted[cluster.name] = str(error)
            self.log.error(
                "Submitting workers of cluster %s failed, retry in %d s: %s", cluster.name, RETRY_SECONDS, error
            )
            self.queue.put_after(cluster, RETRY_SECONDS)
        finally:
            self.submitting.discard(cluster.name)
            for worker in workers:
                if worker.target != JobStatus.RUNNING:
                    self.queue.put(worker)

    async def _update_workers(self, updates: Sequence[tuple[Worker, dict[str, Any]]]) -> None:
        """Update records of workers in batches, as :meth:`_create_workers` creates them."""
        for start in range(0, len(updates), RECORDS_AT_ONCE):
            self.db.update_workers(updates[start : start + RECORDS_AT_ONCE])
            await asyncio.sleep(0)

    async def do_check_workers(self, workers: Sequence[Worker]) -> list[bool]:
        """Return whether each worker has a live job.

        The workers of a cluster that have none count as one failed attempt to start workers: the gateway started them
        together, and a node that crashes ends many. Upstream's caller counts each worker, and fails a cluster after
        three.
        """
        await self.wait_for_cluster()
        with counted("worker jobs"):
            alive: list[bool] = await super().do_check_workers(workers)
        ended = Counter(worker.cluster for worker, lives in zip(workers, alive, strict=True) if not lives)
        for cluster, count in ended.items():
            cluster.worker_start_failure_count -= count - 1
        return alive

    async def _worker_to_stopped(self, worker: Worker) -> None:
        """Stop all workers of the cluster that are to stop, with one call that cancels their jobs.

        A call that fails is retried, also after a restart of the gateway.
        """
        cluster = worker.cluster
        if worker.name in self._cancelling or (worker.status == JobStatus.CREATED and cluster.name in self.submitting):
            return
        workers = [
            other
            for other in cluster.workers.values()
            if other.target >= JobStatus.STOPPED and JobStatus.CREATED < other.status < JobStatus.STOPPED
            if other.name not in self._cancelling
        ]
        if worker.status == JobStatus.CREATED:
            workers.append(worker)
        names = {other.name for other in workers}
        self._cancelling |= names
        try:
            numbers = [other.state["job_id"] for other in workers if "job_id" in other.state]
            if numbers:
                await launcher_client.act(Owner.of(cluster), "cancel", jobs=numbers, remove=False)
            now = timestamp()
            await self._update_workers(
                [(other, {"state": records.GONE, "status": other.target, "stop_time": now}) for other in workers]
            )
        finally:
            self._cancelling -= names
        self.log.info("%d workers of cluster %s stopped", len(workers), cluster.name)
        self.queue.put(cluster)
        self._requeue_user_clusters(cluster.username)

    async def _cluster_to_stopped(self, cluster: Cluster) -> None:
        """Do what upstream does, and give the resources of the cluster to the user's waiting clusters."""
        await super()._cluster_to_stopped(cluster)
        self._not_accepted.pop(cluster.name, None)
        self._requeue_user_clusters(cluster.username)

    def _requeue_user_clusters(self, username: str) -> None:
        """Reconcile all clusters of a user who has freed resources."""
        for cluster in records.clusters_of(self.db, username):
            self.queue.put(cluster)

    @property
    def _total(self) -> quota.Resources:
        """What the site allows to one user."""
        return quota.Resources.of_total(self.site.slurm.user_total, self.site.slurm.maximum_workers.per_user)

    def _held_of_total(self, username: str) -> tuple[dict[str, quota.Resources], quota.Resources]:
        """Return what the user's clusters hold, and what the site allows to the user."""
        return grants.held(records.clusters_of(self.db, username)), self._total

    def advice_of_scaling(self, cluster_name: str, wanted: int) -> str | None:
        """Return why a cluster does not get all requested workers now, for its user; None when it gets them."""
        cluster = self.db.get_cluster(cluster_name)
        if cluster is None:
            return None
        if cluster_name in self._not_accepted:
            return (
                f"SLURM takes no workers of your cluster at the moment: {self._not_accepted[cluster_name]}."
                " The gateway submits them as soon as SLURM takes jobs again."
            )
        held, total = self._held_of_total(cluster.username)
        if cluster_name not in held:
            return None
        grant = grants.reachable(cluster, wanted, held, total)
        return quota.trimmed(wanted, grant, held, total) if grant < wanted else None
