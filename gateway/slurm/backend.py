"""Upstream's SLURM backend, with checked requests, acting as users by the launcher only."""

import asyncio
import contextlib
import shutil
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiohttp import web
from dask_gateway_server.backends.db_base import Cluster, JobStatus, Worker
from dask_gateway_server.backends.jobqueue import slurm
from dask_gateway_server.traitlets import Type
from dask_gateway_server.utils import timestamp
from traitlets import Dict, Integer, Unicode

from gateway.as_user import preflight, preload
from gateway.errors import Refusal
from gateway.identity.authenticator import FacilityUser
from gateway.request import environment_variables, quota
from gateway.request.options import ClusterRequest
from gateway.service import metrics, scheduler_reports, termination
from gateway.service.backend import Created, FacilityBackend, Prepared
from gateway.service.termination import EndCause, StartFailure
from gateway.site import Backend, JobPlacement
from gateway.slurm import grants, jobs, launcher, launcher_client, queries, records, submission
from gateway.slurm.configuration import cluster_config
from gateway.slurm.import_checks import ImportChecks
from gateway.slurm.launcher_client import LauncherError

CREDENTIALS = {"certificate": "dask.crt", "key": "dask.pem", "token": "api-token"}
"""What of a cluster's secrets is in which file of its folder."""
GONE = {"gone": True}
"""State of what has no job any more, and of a cluster that has no folder any more."""
SCHEDULER_LOG = "dask-scheduler-{}.log"
WORKER_LOG = "dask-worker-%A_%a.log"
LOOK_SECONDS = 15
"""Between looks at all jobs: how late the end of a running scheduler's job is seen."""
LAST_LOOKS = 4
"""How many looks there are without a cluster, for jobs that nobody remembers: after the last one, and after a start."""
QUIET_SECONDS = 600
"""Between looks after those."""
SUBMIT_AGAIN_SECONDS = 10
"""After SLURM did not take workers."""
END_SECONDS = 60
"""How long a refusal waits for a scheduler that was already submitted to be gone."""


class FacilitySlurmClusterConfig(slurm.SlurmClusterConfig):  # type: ignore[misc] # upstream has no types
    """Configuration of a cluster on SLURM."""

    lifetime_seconds = Integer(86400, min=60, help="Scheduler and workers end after this.", config=True)
    uid = Integer(help="The account's uid, as the directory has it.", config=True)
    gid = Integer(help="The account's gid, as the directory has it.", config=True)
    plan = Unicode(help="What a job checks and starts (gateway.as_user.preflight.Plan).", config=True)


class FacilitySlurmBackend(FacilityBackend, slurm.SlurmBackend):  # type: ignore[misc] # upstream has no types
    """Runs schedulers and workers as jobs of their users."""

    kind = Backend.SLURM
    cluster_config_class = Type(
        "gateway.slurm.backend.FacilitySlurmClusterConfig",
        klass="dask_gateway_server.backends.base.ClusterConfig",
        help="The class of a cluster's configuration.",
        config=True,
    )
    causes = Dict(help="Cluster -> why it ends, when that is known better than by its last states.")

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._started = timestamp()
        self._cluster_made = asyncio.Event()
        self._reasons: dict[str, str] = {}
        """Cluster -> why it has not started."""
        self._last_client: dict[str, int] = {}
        """Cluster -> when its scheduler last said that a client is connected, in milliseconds since the epoch."""
        self._submitting: set[str] = set()
        """Clusters of which jobs are being submitted and not yet remembered."""
        self._leaving: set[str] = set()
        """Workers whose jobs are being cancelled."""
        self._not_taken: dict[str, str] = {}
        """Cluster -> why SLURM did not take its workers when they were last submitted."""
        self._imports = ImportChecks()
        self._accounting_command = shutil.which("sacct") or "sacct"

    async def setup(self, app: web.Application) -> None:
        """Start to answer requests and to look after clusters."""
        await super().setup(app)
        self.task_pool.spawn(self._look_after_jobs())

    async def note_client(self, name: str) -> None:
        """Note that a client is connected to a cluster."""
        self._last_client[name] = timestamp()

    async def _until_there_are_clusters(self) -> None:
        """Wait while there is nothing to look after: upstream wakes for nothing eight times a minute."""
        if not self._present_clusters():
            self._cluster_made.clear()
            await self._cluster_made.wait()

    async def _check_timeouts(self) -> None:
        """Upstream's, and the end of clusters that are too old or alone for too long."""
        await self._until_there_are_clusters()
        self._reasons = {name: reason for name, reason in self._reasons.items() if name in self.db.name_to_cluster}
        await self._explain_late_schedulers()
        await super()._check_timeouts()
        now, timeouts = timestamp(), self.site.slurm.timeouts
        active = list(self.db.active_clusters())
        self._last_client = {
            cluster.name: self._last_client[cluster.name] for cluster in active if cluster.name in self._last_client
        }
        for cluster in active:
            # What was said before a restart is forgotten: then the time begins anew.
            since = self._last_client.get(cluster.name, max(cluster.start_time, self._started))
            age = (now - cluster.start_time) / 1000
            alone = (now - since) / 1000 if cluster.status == JobStatus.RUNNING else 0
            end = termination.due(age, cluster.config.lifetime_seconds, alone, timeouts.client_gone_seconds)
            if end is not None:
                self.log.info("Cluster %s of %s: %s", cluster.name, cluster.username, end.reason)
                self.causes[cluster.name] = end.cause
                await self.stop_cluster(cluster.name)

    async def _explain_late_schedulers(self) -> None:
        """Note why schedulers have not started whose time is over: upstream ends them now."""
        seconds = self.site.slurm.timeouts.start_seconds
        bound = timestamp() - seconds * 1000
        late = [
            cluster
            for cluster in self.db.active_clusters()
            if cluster.status == JobStatus.SUBMITTED and cluster.start_time < bound
        ]
        known = await queries.listed(self.status_command) if late else {}
        for cluster in late:
            job = known.get(cluster.state.get("job_id", ""))
            end = jobs.of_delay(job, seconds, self._log_of(cluster))
            self._reasons[cluster.name], self.causes[cluster.name] = end.reason, end.cause

    def _log_of(self, cluster: Cluster) -> str:
        folder = cluster.config.staging_directory.format(username=cluster.username)
        return f"{folder}/logs/{cluster.name}/{SCHEDULER_LOG.format(cluster.name)}"

    def reason_of(self, name: str) -> str | None:
        """Why a cluster did not start, when that is known."""
        return self._reasons.get(name)

    async def do_check_clusters(self, clusters: Sequence[Cluster]) -> list[bool]:
        """Whether each cluster's scheduler has a job that lives."""
        await self._until_there_are_clusters()
        alive: list[bool] = await super().do_check_clusters(clusters)
        for cluster, is_alive in zip(clusters, alive, strict=True):
            if not is_alive:
                how = await self._how_ended(cluster.state.get("job_id", ""), {})
                log = self._log_of(cluster)
                self._reasons[cluster.name] = f"The scheduler's job ended before it was ready{how}; its log is {log}."
                self.causes[cluster.name] = StartFailure.JOB_ENDED
        return alive

    async def do_check_workers(self, workers: Sequence[Worker]) -> list[bool]:
        """Whether each worker has a job that lives.

        Those of a cluster that do not are one failed attempt to start workers: they were started together, and a node
        that crashes takes many along. Upstream's caller counts each, and gives a cluster up after three.
        """
        await self._until_there_are_clusters()
        alive: list[bool] = await super().do_check_workers(workers)
        ended = Counter(worker.cluster for worker, lives in zip(workers, alive, strict=True) if not lives)
        for cluster, count in ended.items():
            cluster.worker_start_failure_count -= count - 1
        return alive

    async def check_jobs(self, job_ids: Sequence[str]) -> dict[str, bool]:
        """Which jobs live. Raises :class:`gateway.slurm.queries.CommandError` when SLURM does not say."""
        if not job_ids:
            return {}
        known = await queries.listed(self.status_command)
        return {number: number in known and known[number].is_alive for number in job_ids}

    async def _look_after_jobs(self) -> None:
        quiet = 0
        while True:
            if quiet >= LAST_LOOKS:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._until_there_are_clusters(), QUIET_SECONDS)
            # Not at once when a cluster is made: its start needs the processor then.
            await asyncio.sleep(LOOK_SECONDS)
            quiet = 0 if self._present_clusters() else quiet + 1
            try:
                await self._look_at_jobs()
            except (queries.CommandError, OSError) as error:
                self.log.error("Jobs are looked at again in %d s: %s", LOOK_SECONDS, error)
                quiet = 0

    async def _look_at_jobs(self) -> None:
        """End clusters whose scheduler's job has ended, and cancel jobs that no cluster remembers."""
        running = [cluster for cluster in self.db.active_clusters() if cluster.status == JobStatus.RUNNING]
        submitting = set(self._submitting)
        known = await queries.listed(self.status_command)
        for cluster in running:
            number = cluster.state.get("job_id", "")
            if number not in known or not known[number].is_alive:
                how = await self._how_ended(number, known)
                self.log.info("Cluster %s of %s: the scheduler's job has ended%s", cluster.name, cluster.username, how)
                await self.stop_cluster(cluster.name, failed=True)
        orphans = jobs.orphans(known, self._remembered_jobs(), submitting | self._submitting, self.site.slurm.release)
        for owner, numbers in orphans.items():
            self.log.info("Jobs of cluster %s of %s that nobody remembers: %s", owner.cluster, owner.username, numbers)
            try:
                await launcher_client.act(owner, "cancel", jobs=numbers, remove=False)
            except LauncherError as error:
                self.log.error("They are not cancelled: %s", error)

    def _present_clusters(self) -> list[Cluster]:
        return [cluster for cluster in self.db.name_to_cluster.values() if cluster.status < JobStatus.STOPPED]

    def _remembered_jobs(self) -> set[str]:
        clusters = self._present_clusters()
        items = [*clusters, *(worker for cluster in clusters for worker in cluster.workers.values())]
        return {item.state["job_id"] for item in items if "job_id" in item.state}

    async def _how_ended(self, number: str, known: Mapping[str, jobs.Job]) -> str:
        """In brackets, how a job has ended; empty when neither the queue nor accounting knows."""
        queued = known[number].state if number in known else None
        how = await queries.end_of(self._accounting_command, number) or queued
        return f" ({how})" if how else ""

    async def _cluster_to_closing(self, cluster: Cluster) -> None:
        """Upstream's, which each cluster passes once when it ends."""
        by_states = EndCause.FAILED if cluster.status >= JobStatus.RUNNING else StartFailure.OTHER
        cause = by_states if cluster.target == JobStatus.FAILED else EndCause.USER
        metrics.count(self.kind, self.causes.pop(cluster.name, cause))
        await super()._cluster_to_closing(cluster)

    async def _cluster_to_stopped(self, cluster: Cluster) -> None:
        """Upstream's, once the scheduler's job is cancelled: until then this is tried again, over restarts too.

        Upstream forgets a job that it could not cancel (not reported).
        """
        if cluster.status > JobStatus.CREATED or cluster.state:
            await self.do_stop_cluster(cluster)
            self.db.update_cluster(cluster, state=GONE)
        await super()._cluster_to_stopped(cluster)
        self._not_taken.pop(cluster.name, None)
        self._requeue_user_clusters(cluster.username)

    async def _check_cluster_scale(self, cluster: Cluster) -> None:
        """Upstream's, with one array of jobs for all workers that are missing, as far as the user's total goes.

        Upstream submits one by one, and a cluster that SLURM takes no workers of for a moment is lost.
        """
        if cluster.worker_start_failure_count >= self.worker_start_failure_limit:
            await super()._check_cluster_scale(cluster)
            return
        grant = grants.grant(self.site.slurm.user_total, self._clusters_of(cluster.username), cluster)
        if grant > 0:
            records.create_workers(self.db, cluster, grant)
        waiting = [
            worker
            for worker in cluster.workers.values()
            if worker.status == JobStatus.CREATED and worker.target == JobStatus.RUNNING
        ]
        for start in range(0, len(waiting), jobs.MOST_TASKS):
            await self._submit_workers(cluster, waiting[start : start + jobs.MOST_TASKS])

    def _clusters_of(self, username: str) -> list[Cluster]:
        """A user's clusters, with those that still end."""
        known = self.db.username_to_clusters.get(username, {}).values()
        return [cluster for cluster in known if cluster.status < JobStatus.STOPPED]

    def _held_of_total(self, username: str) -> tuple[dict[str, quota.Resources], quota.Resources] | None:
        """What the user's clusters hold, and what they may hold together; None where the site bounds no user."""
        bound = self.site.slurm.user_total
        return None if bound is None else (grants.held(self._clusters_of(username)), quota.Resources.of_total(bound))

    def advice_of_scaling(self, cluster_name: str, wanted: int) -> str | None:
        """What the user is told who wishes for so many workers of a cluster and does not get them all now."""
        cluster = self.db.get_cluster(cluster_name)
        if cluster is None:
            return None
        if cluster_name in self._not_taken:
            return (
                f"SLURM takes no workers of your cluster at the moment: {self._not_taken[cluster_name]}."
                " They are submitted as soon as it does."
            )
        found = self._held_of_total(cluster.username)
        if found is None:
            return None
        held, total = found
        grant = grants.reachable(cluster, wanted, held, total)
        return quota.trimmed(wanted, grant, held, total) if grant < wanted else None

    def _requeue_user_clusters(self, username: str) -> None:
        """Look at all clusters of a user who has freed room."""
        if self.site.slurm.user_total is not None:
            for cluster in self._clusters_of(username):
                self.queue.put(cluster)

    async def _worker_to_submitted(self, worker: Worker) -> None:
        """Nothing: workers are submitted when their cluster is looked at."""

    async def _submit_workers(self, cluster: Cluster, workers: Sequence[Worker]) -> None:
        """Submit an array of one job for each worker; later again, if SLURM does not take it."""
        command = self.get_worker_command(cluster, submission.TASK_NAME)
        config = cluster.config
        self._submitting.add(cluster.name)
        try:
            job = self._job(
                cluster,
                self.site.slurm.worker_jobs,
                WORKER_LOG,
                command,
                names=[worker.name for worker in workers],
                cores=config.worker_cores,
                memory=config.worker_memory,
            )
            number = await self._submit(cluster, job)
            # One that is to end by now is on its way there as any other that was submitted.
            self.db.update_workers(
                [
                    (worker, {"status": JobStatus.SUBMITTED, "state": {"job_id": f"{number}_{task}"}})
                    for task, worker in enumerate(workers)
                ]
            )
            self._not_taken.pop(cluster.name, None)
        except (LauncherError, Refusal, OSError) as error:
            self._not_taken[cluster.name] = str(error)
            self.log.error(
                "Workers of cluster %s are submitted again in %d s: %s", cluster.name, SUBMIT_AGAIN_SECONDS, error
            )
            self.queue.put_after(cluster, SUBMIT_AGAIN_SECONDS)
        finally:
            self._submitting.discard(cluster.name)
            for worker in workers:
                if worker.target != JobStatus.RUNNING:
                    self.queue.put(worker)

    async def _worker_to_stopped(self, worker: Worker) -> None:
        """Upstream's, for all workers of the cluster that are to end, with one call to cancel their jobs.

        A call that failed is tried again, over restarts too.
        """
        cluster = worker.cluster
        if worker.name in self._leaving or (worker.status == JobStatus.CREATED and cluster.name in self._submitting):
            return
        workers = [
            other
            for other in cluster.workers.values()
            if other.target >= JobStatus.STOPPED and JobStatus.CREATED < other.status < JobStatus.STOPPED
            if other.name not in self._leaving
        ]
        if worker.status == JobStatus.CREATED:
            workers.append(worker)
        names = {other.name for other in workers}
        self._leaving |= names
        try:
            numbers = [other.state["job_id"] for other in workers if "job_id" in other.state]
            if numbers:
                await self._act(cluster, "cancel", jobs=numbers, remove=False)
            now = timestamp()
            self.db.update_workers(
                [(other, {"state": GONE, "status": other.target, "stop_time": now}) for other in workers]
            )
        finally:
            self._leaving -= names
        self.log.info("%d workers of cluster %s stopped", len(workers), cluster.name)
        self.queue.put(cluster)
        self._requeue_user_clusters(cluster.username)

    def get_scheduler_command(self, cluster: Cluster) -> list[str]:
        """Upstream's, with our preload before upstream's own."""
        path = f"{self.get_staging_directory(cluster)}/{launcher.PRELOAD}"
        return scheduler_reports.with_preload(super().get_scheduler_command(cluster), path)

    def cluster_config(self, request: ClusterRequest) -> dict[str, Any]:
        """See :func:`gateway.slurm.configuration.cluster_config`."""
        return cluster_config(self.site, request)

    async def _create_cluster(self, user: FacilityUser, prepared: Prepared) -> Created:
        """Create the record; have the launcher check the environment, make the cluster folder and submit the job."""
        cluster = self.db.create_cluster(user.name, prepared.options, prepared.config.to_dict())
        self._cluster_made.set()
        self._submitting.add(cluster.name)
        try:
            files, job = self._files(cluster, prepared.request), self._scheduler_job(cluster)
            answer = await self._act(cluster, "start", plan=cluster.config.plan, files=files, job=job)
            if "job" in answer:
                self.db.update_cluster(cluster, state={"job_id": self._taken(cluster, job, answer)})
        except BaseException as error:
            metrics.count(self.kind, failure_of_error(error))
            records.forget(self.db, cluster)
            raise self._explained(cluster, error) from error
        finally:
            self._submitting.discard(cluster.name)
        self.log.info("Created cluster %s for user %s", cluster.name, user.name)
        self.queue.put(cluster)
        return Created(str(cluster.name), (cluster, answer))

    async def _verify_cluster(self, created: Created, request: ClusterRequest) -> None:
        """Check that the environment can import Dask, the longest check, while the scheduler's job already starts.

        It runs once for each state of an environment; the job itself checks again.
        """
        cluster, answer = created.handle
        environment = _environment(request, answer["state"])
        await self._imports.passed(environment, lambda: self._see_that_it_imports(cluster))

    async def _abandon_cluster(self, created: Created, error: BaseException) -> BaseException:
        """Set the cause that the metrics count, and end the cluster."""
        cluster, _ = created.handle
        self.causes[cluster.name] = failure_of_error(error)
        await self._discard(cluster)
        return self._explained(cluster, error)

    async def _see_that_it_imports(self, cluster: Cluster) -> None:
        await self._act(cluster, "imports", plan=cluster.config.plan)

    def _explained(self, cluster: Cluster, error: BaseException) -> BaseException:
        """The error as the user may see it."""
        if not isinstance(error, LauncherError):
            return error
        self.log.error("Cluster %s of %s: %s", cluster.name, cluster.username, error)
        return Refusal(
            f"The gateway could not prepare your cluster on the submission host: {error}."
            " Try again; if it stays so, tell the administrators."
        )

    def _files(self, cluster: Cluster, request: ClusterRequest) -> dict[str, str]:
        contents = {
            CREDENTIALS["certificate"]: cluster.tls_cert,
            CREDENTIALS["key"]: cluster.tls_key,
            CREDENTIALS["token"]: cluster.token.encode(),
            launcher.VARIABLES: environment_variables.encoded({**request.variables, **self.get_env(cluster)}),
        }
        return {name: b64encode(content).decode() for name, content in contents.items()}

    async def _discard(self, cluster: Cluster) -> None:
        """End a cluster that is refused, with what may run of it already, and keep nothing of it."""
        self.db.update_cluster(cluster, target=JobStatus.FAILED)
        self.queue.put(cluster)
        try:
            await asyncio.wait_for(cluster.shutdown, END_SECONDS)
            await self._act(cluster, "discard")
        except (TimeoutError, LauncherError) as error:
            # Its record stays, and with it the attempts to end it.
            self.log.error("Cluster %s of %s is refused and not gone: %r", cluster.name, cluster.username, error)
        else:
            records.forget(self.db, cluster)

    async def _act(self, cluster: Cluster, action: str, **arguments: Any) -> dict[str, Any]:
        """Have the launcher do something as the cluster's user; see :func:`gateway.slurm.launcher_client.act`."""
        owner = jobs.Owner(cluster.name, cluster.username, cluster.config.uid, cluster.config.gid)
        return await launcher_client.act(owner, action, **arguments)

    def get_staging_directory(self, cluster: Cluster) -> str:
        """The cluster's folder, as the launcher makes it."""
        return f"{cluster.config.staging_directory.format(username=cluster.username)}/{cluster.name}"

    def get_env(self, cluster: Cluster) -> dict[str, str]:
        """What upstream gives to schedulers and workers, all of it in files of the cluster's folder.

        Upstream hands it to sbatch, where the token stays in SLURM's accounting.
        """
        certificate, key = self.get_tls_paths(cluster)
        tls = "DASK_DISTRIBUTED__COMM__TLS__"
        return {
            "DASK_GATEWAY_API_URL": self.api_url,
            "DASK_GATEWAY_API_TOKEN": f"{self.get_staging_directory(cluster)}/{CREDENTIALS['token']}",
            "DASK_GATEWAY_CLUSTER_NAME": cluster.name,
            preload.REPORT_SECONDS: str(self.site.slurm.timeouts.report_seconds),
            "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
            f"{tls}CA_FILE": certificate,
            **{f"{tls}{role}__CERT": certificate for role in ("SCHEDULER", "WORKER")},
            **{f"{tls}{role}__KEY": key for role in ("SCHEDULER", "WORKER")},
        }

    supports_bulk_shutdown = True
    """A cluster's end cancels the jobs of its workers too."""

    async def do_start_cluster(self, cluster: Cluster) -> AsyncIterator[dict[str, Any]]:
        """Submit the scheduler's job, if SLURM has not taken it at once; yields the state to remember."""
        if "job_id" in cluster.state:
            yield cluster.state
            return
        self._submitting.add(cluster.name)
        try:
            yield {"job_id": await self._submit(cluster, self._scheduler_job(cluster))}
        except LauncherError as error:
            self._reasons[cluster.name] = f"SLURM did not take the scheduler's job: {error}. Try again later."
            self.causes[cluster.name] = StartFailure.LAUNCHER
            raise
        finally:
            self._submitting.discard(cluster.name)

    def _scheduler_job(self, cluster: Cluster) -> dict[str, Any]:
        return self._job(
            cluster,
            self.site.slurm.scheduler_jobs,
            SCHEDULER_LOG.format(cluster.name),
            self.get_scheduler_command(cluster),
            cores=cluster.config.scheduler_cores,
            memory=cluster.config.scheduler_memory,
        )

    def _job(
        self,
        cluster: Cluster,
        placement: JobPlacement,
        log: str,
        command: Sequence[str],
        *,
        cores: int,
        memory: int,
        names: Sequence[str] = (),
    ) -> dict[str, Any]:
        """What the launcher has to know of a job, or of an array of one for each name."""
        folder = self.get_staging_directory(cluster)
        plan = preflight.decoded(cluster.config.plan)._replace(variables=f"{folder}/{launcher.VARIABLES}")
        # Isolated and without packages: nothing of the user's may change what runs before their variables are there.
        words = [plan.python, "-IS", f"{folder}/{launcher.PROGRAM}", "start", plan.encoded(), *command]
        options = submission.options(
            self.site.slurm,
            placement,
            cluster.name,
            cores=cores,
            memory_bytes=memory,
            lifetime_seconds=cluster.config.lifetime_seconds,
        )
        return {
            "log": log,
            "script": submission.script(placement, words, names),
            "options": options | (submission.array(len(names)) if names else {}),
        }

    async def _submit(self, cluster: Cluster, job: Mapping[str, Any]) -> str:
        """Submit a job of a prepared cluster; returns its number."""
        return self._taken(cluster, job, await self._act(cluster, "submit", **job))

    def _taken(self, cluster: Cluster, job: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
        """The number of a job that SLURM has taken."""
        self.log.info("Job %s submitted for %s of cluster %s", answer["job"], job["log"], cluster.name)
        return str(answer["job"])

    async def do_stop_cluster(self, cluster: Cluster) -> None:
        """Cancel all of a cluster's jobs and remove its folder."""
        if cluster.state != GONE:
            items = [cluster, *(worker for worker in cluster.workers.values() if worker.status < JobStatus.STOPPED)]
            numbers = jobs.arrays(item.state["job_id"] for item in items if "job_id" in item.state)
            await self._act(cluster, "cancel", jobs=numbers, remove=True)


def _environment(request: ClusterRequest, state: Sequence[int]) -> tuple[object, ...]:
    """All that decides whether Dask can be imported."""
    return request.username, request.environment.prefix, tuple(state), frozenset(request.variables.items())


def failure_of_error(error: BaseException) -> StartFailure:
    """Of what the launcher was asked to prepare or to check."""
    if isinstance(error, Refusal):
        return StartFailure.PREFLIGHT
    return StartFailure.LAUNCHER if isinstance(error, Exception) else StartFailure.OTHER
