"""The back end on SLURM: upstream's, with checked requests, that acts as users only by the launcher."""

import shutil
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from dask_gateway_server.backends.db_base import Cluster, JobStatus, Worker
from dask_gateway_server.traitlets import Type
from dask_gateway_server.utils import timestamp
from traitlets import Unicode, default

from gateway.request.options import ClusterRequest
from gateway.service import metrics, termination
from gateway.service.supervision import counted, supervised
from gateway.service.termination import EndCause, StartFailure, Termination
from gateway.site import Backend
from gateway.slurm import jobs, launcher_client, placement, queries, records
from gateway.slurm.configuration import cluster_config
from gateway.slurm.job_watcher import JobWatcher
from gateway.slurm.jobs import Owner
from gateway.slurm.proxy.backend import RoutedBackend
from gateway.slurm.workers import WorkerBackend


class FacilitySlurmBackend(RoutedBackend, WorkerBackend):
    """Runs schedulers and workers as jobs of their users.

    :class:`gateway.slurm.start.StartBackend` starts clusters, :class:`gateway.slurm.workers.WorkerBackend` scales them,
    :class:`gateway.slurm.proxy.backend.RoutedBackend` keeps their routes; this class bounds their time and ends them.
    """

    kind = Backend.SLURM
    cluster_config_class = Type(
        "gateway.slurm.cluster_configuration.FacilitySlurmClusterConfig",
        klass="dask_gateway_server.backends.base.ClusterConfig",
        help="The class of a cluster's configuration.",
        config=True,
    )
    accounting_command = Unicode(help="The path to the command of SLURM's accounting.", config=True)
    supports_bulk_shutdown = True
    """The end of a cluster cancels the jobs of its workers too."""

    @default("accounting_command")
    def _default_accounting_command(self) -> str:
        return shutil.which("sacct") or "sacct"

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.job_watcher = JobWatcher(self)
        self._started = timestamp()
        self._last_client: dict[str, int] = {}
        """Cluster -> time of the last scheduler report of a connected client, in milliseconds since the epoch."""

    async def setup(self, app: web.Application) -> None:
        """Start to answer requests, to reconcile clusters and to watch jobs."""
        await super().setup(app)
        self.task_pool.spawn(supervised("job watcher", self.job_watcher.run, self.log))

    def cluster_config(self, request: ClusterRequest) -> dict[str, Any]:
        """Return the traits of the cluster's configuration, see :func:`gateway.slurm.configuration.cluster_config`."""
        return cluster_config(self.site, request)

    async def note_client(self, name: str) -> None:
        """Note that a client is connected to a cluster."""
        self._last_client[name] = timestamp()

    async def placed_heartbeat(self, cluster_name: str, heartbeat: dict[str, Any]) -> dict[str, Any]:
        """Return the heartbeat with the addresses of :func:`gateway.slurm.placement.placed` while the cluster starts.

        Upstream reads no addresses of a cluster that runs. Raises :class:`gateway.errors.Refusal`.
        """
        cluster = self.db.get_cluster(cluster_name)
        if cluster is None or cluster.target > JobStatus.RUNNING:
            return heartbeat
        if cluster.status == JobStatus.RUNNING:
            placement.check_workers(cluster, heartbeat)
            return heartbeat
        return await placement.placed(cluster, heartbeat, self.status_command, self.site.slurm)

    async def _check_timeouts(self) -> None:
        """Do what upstream does, and end clusters at their lifetime or at the client-gone timeout."""
        await self.wait_for_cluster()
        with counted("timeouts"):
            await self._apply_timeouts()

    async def _apply_timeouts(self) -> None:
        self.reasons = {name: reason for name, reason in self.reasons.items() if name in self.db.name_to_cluster}
        await self._explain_late_schedulers()
        await super()._check_timeouts()
        now, timeouts = timestamp(), self.site.slurm.timeouts
        active = list(self.db.active_clusters())
        self._last_client = {
            cluster.name: self._last_client[cluster.name] for cluster in active if cluster.name in self._last_client
        }
        for cluster in active:
            # A restart forgets the reports before it: the client-gone timeout then counts from the restart.
            since = self._last_client.get(cluster.name, max(cluster.start_time, self._started))
            age = (now - cluster.start_time) / 1000
            alone = (now - since) / 1000 if cluster.status == JobStatus.RUNNING else 0
            end = termination.due(age, cluster.config.lifetime_seconds, alone, timeouts.client_gone_seconds)
            if end is not None:
                self.log.info("Cluster %s of %s: %s", cluster.name, cluster.username, end.reason)
                self.causes[cluster.name] = end.cause
                await self.stop_cluster(cluster.name)

    async def _explain_late_schedulers(self) -> None:
        """Note why schedulers have not started within the start timeout, before upstream ends their clusters."""
        seconds = self.site.slurm.timeouts.start_seconds
        bound = timestamp() - seconds * 1000
        late = [
            cluster
            for cluster in self.db.active_clusters()
            if cluster.status == JobStatus.SUBMITTED and cluster.start_time < bound
        ]
        if not late:
            return
        try:
            queue = await self.job_watcher.list_jobs()
        except (queries.CommandError, OSError) as error:
            # Explaining is optional, the limits are not.
            self.log.error("Listing SLURM's jobs failed, so late clusters end without a reason: %s", error)
            return
        for cluster in late:
            end = await self._explain_delay(cluster, queue, seconds)
            self.reasons[cluster.name], self.causes[cluster.name] = end.reason, end.cause

    async def _explain_delay(self, cluster: Cluster, queue: jobs.Queue, seconds: int) -> Termination:
        number = cluster.state.get("job_id", "")
        job = queue.job_of(Owner.of(cluster), number)
        is_pending = job is not None and job.state == "PENDING"
        reason = await queries.reason_of(self.status_command, number) if is_pending else ""
        return jobs.of_delay(job, reason, seconds, self.scheduler_log_of(cluster))

    async def _do_check(self, items: Sequence[Cluster | Worker]) -> list[bool]:
        """Return whether each cluster or worker has a live job, which its user owns.

        Upstream's method looks at ids alone. Raises :class:`gateway.slurm.queries.CommandError` when squeue fails.
        """
        if not items:
            return []
        queue = await self.job_watcher.list_jobs()
        clusters = [item.cluster if isinstance(item, Worker) else item for item in items]
        return [
            queue.has_live(Owner.of(cluster), item.state.get("job_id", ""))
            for item, cluster in zip(items, clusters, strict=True)
        ]

    async def do_check_clusters(self, clusters: Sequence[Cluster]) -> list[bool]:
        """Return whether the scheduler of each cluster has a live job; note how the job of any other ended."""
        await self.wait_for_cluster()
        with counted("scheduler jobs"):
            alive: list[bool] = await super().do_check_clusters(clusters)
        for cluster, is_alive in zip(clusters, alive, strict=True):
            if not is_alive:
                how = await self.job_watcher.how_ended(cluster)
                log = self.scheduler_log_of(cluster)
                self.reasons[cluster.name] = f"The scheduler's job ended before it was ready{how}; its log is {log}."
                self.causes[cluster.name] = StartFailure.JOB_ENDED
        return alive

    async def _cluster_to_closing(self, cluster: Cluster) -> None:
        """Do what upstream does, and count the termination: each cluster passes this state once."""
        by_states = EndCause.FAILED if cluster.status >= JobStatus.RUNNING else StartFailure.OTHER
        cause = by_states if cluster.target == JobStatus.FAILED else EndCause.USER
        metrics.count(self.kind, self.causes.pop(cluster.name, cause))
        await super()._cluster_to_closing(cluster)

    async def _cluster_to_stopped(self, cluster: Cluster) -> None:
        """Cancel the cluster's jobs, then do what upstream does. A cancel that fails is retried, also after a restart.

        Upstream forgets a job that it could not cancel (not reported upstream).
        """
        if cluster.status > JobStatus.CREATED or cluster.state:
            await self.do_stop_cluster(cluster)
            self.db.update_cluster(cluster, state=records.GONE)
        await super()._cluster_to_stopped(cluster)

    async def do_stop_cluster(self, cluster: Cluster) -> None:
        """Cancel all jobs of a cluster and remove its folder, unless that is done."""
        if cluster.state != records.GONE:
            items = [cluster, *(worker for worker in cluster.workers.values() if worker.status < JobStatus.STOPPED)]
            numbers = jobs.arrays(item.state["job_id"] for item in items if "job_id" in item.state)
            await launcher_client.act(Owner.of(cluster), "cancel", jobs=numbers, remove=True)
