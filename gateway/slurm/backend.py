"""Upstream's SLURM backend, with checked requests, acting as users by the launcher only."""

import asyncio
import json
import math
import shlex
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiohttp import web
from dask_gateway_server.backends.db_base import Cluster, JobStatus, Worker
from dask_gateway_server.backends.db_base import clusters as clusters_table
from dask_gateway_server.backends.jobqueue import slurm
from dask_gateway_server.backends.jobqueue.slurm import slurm_format_memory
from dask_gateway_server.traitlets import Type
from dask_gateway_server.utils import timestamp
from traitlets import Integer, Unicode

from gateway import ends, environment_variables, preflight, preload, presence
from gateway.auth import FacilityUser
from gateway.backend import FacilityBackend
from gateway.errors import Refusal
from gateway.options import ClusterRequest
from gateway.site import Backend
from gateway.slurm import jobs, launcher
from gateway.slurm.config import cluster_config

LAUNCHER = (sys.executable, "-I", "-m", launcher.__name__)
"""Exactly what sudo allows (ansible/roles/gateway)."""
CREDENTIALS = {"certificate": "dask.crt", "key": "dask.pem", "token": "api-token"}
"""What of a cluster's secrets is in which file of its folder."""
GONE = {"gone": True}
"""State of what has no job any more, and of a cluster that has no folder any more."""
SCHEDULER_LOG = "dask-scheduler-{}.log"
ACT_SECONDS = 120
"""Bound on one call of the launcher: longer than what it bounds itself."""
END_SECONDS = 60
"""How long a refusal waits for a scheduler that was already submitted to be gone."""


class FacilitySlurmClusterConfig(slurm.SlurmClusterConfig):  # type: ignore[misc] # upstream has no types
    """Configuration of a cluster on SLURM."""

    lifetime_seconds = Integer(86400, min=60, help="Scheduler and workers end after this.", config=True)
    uid = Integer(help="The account's uid, as the directory has it.", config=True)
    gid = Integer(help="The account's gid, as the directory has it.", config=True)
    plan = Unicode(help="What a job checks and starts (gateway.preflight.Plan).", config=True)


class LauncherError(Exception):
    """The launcher could not do what it was asked for."""


class FacilitySlurmBackend(FacilityBackend, slurm.SlurmBackend):  # type: ignore[misc] # upstream has no types
    """Runs schedulers and workers as jobs of their users."""

    kind = Backend.SLURM
    cluster_config_class = Type(
        "gateway.slurm.backend.FacilitySlurmClusterConfig",
        klass="dask_gateway_server.backends.base.ClusterConfig",
        help="The class of a cluster's configuration.",
        config=True,
    )

    async def setup(self, app: web.Application) -> None:
        """Start to answer requests and to look after clusters."""
        self._started = timestamp()
        self._reasons: dict[str, str] = {}
        """Cluster -> why it has not started."""
        self._last_client: dict[str, int] = {}
        """Cluster -> when its scheduler last said that a client is connected, in milliseconds since the epoch."""
        await super().setup(app)

    async def note_client(self, name: str) -> None:
        """Note that a client is connected to a cluster."""
        self._last_client[name] = timestamp()

    async def _check_timeouts(self) -> None:
        """Upstream's, and the end of clusters that are too old or alone for too long."""
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
            reason = ends.reason(age, cluster.config.lifetime_seconds, alone, timeouts.client_gone_seconds)
            if reason is not None:
                self.log.info("Cluster %s of %s: %s", cluster.name, cluster.username, reason)
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
        known = await self._jobs() if late else {}
        for cluster in late:
            job = known.get(cluster.state.get("job_id", ""))
            self._reasons[cluster.name] = jobs.why_not_started(job, seconds, self._log_of(cluster))

    def _log_of(self, cluster: Cluster) -> str:
        folder = cluster.config.staging_directory.format(username=cluster.username)
        return f"{folder}/logs/{cluster.name}/{SCHEDULER_LOG.format(cluster.name)}"

    def reason_of(self, name: str) -> str | None:
        """Why a cluster did not start, when that is known."""
        return self._reasons.get(name)

    async def do_check_clusters(self, clusters: Sequence[Cluster]) -> list[bool]:
        """Whether each cluster's scheduler has a job that lives."""
        alive: list[bool] = await super().do_check_clusters(clusters)
        for cluster, is_alive in zip(clusters, alive, strict=True):
            if not is_alive:
                log = self._log_of(cluster)
                self._reasons[cluster.name] = f"The scheduler's job ended before it was ready; its log is {log}."
        return alive

    async def check_jobs(self, job_ids: Sequence[str]) -> dict[str, bool]:
        """Which jobs live. Raises :class:`LauncherError` when SLURM does not say.

        Upstream asks for jobs by number, to which squeue gives no list when the only one is unknown to it.
        """
        if not job_ids:
            return {}
        known = await self._jobs()
        return {number: number in known and known[number].is_alive for number in job_ids}

    async def _jobs(self) -> dict[str, jobs.Job]:
        process = await asyncio.create_subprocess_exec(
            *(self.status_command, "--noheader", f"--name={jobs.NAME}", f"--format={jobs.FORMAT}"),
            env=launcher.SLURM_ENVIRONMENT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await asyncio.wait_for(process.communicate(), launcher.SLURM_SECONDS)
        except TimeoutError:
            process.kill()
            raise LauncherError(f"squeue took longer than {launcher.SLURM_SECONDS} s") from None
        if process.returncode != 0:
            raise LauncherError(f"squeue: {errors.decode(errors='replace').strip()[-500:]}")
        return jobs.parsed(output.decode(errors="replace"))

    async def _cluster_to_stopped(self, cluster: Cluster) -> None:
        """Upstream's, once the scheduler's job is cancelled: until then this is tried again, over restarts too.

        Upstream forgets a job that it could not cancel (not reported).
        """
        if cluster.status > JobStatus.CREATED:
            await self.do_stop_cluster(cluster)
            self.db.update_cluster(cluster, state=GONE)
        await super()._cluster_to_stopped(cluster)

    async def _worker_to_stopped(self, worker: Worker) -> None:
        """Upstream's, once the worker's job is cancelled: until then this is tried again, over restarts too."""
        if worker.status > JobStatus.CREATED:
            await self.do_stop_worker(worker)
            self.db.update_worker(worker, state=GONE)
        await super()._worker_to_stopped(worker)

    def get_scheduler_command(self, cluster: Cluster) -> list[str]:
        """Upstream's, with our preload before upstream's own."""
        path = f"{self.get_staging_directory(cluster)}/{launcher.PRELOAD}"
        return presence.with_preload(super().get_scheduler_command(cluster), path)

    def cluster_config(self, request: ClusterRequest) -> dict[str, Any]:
        """See :func:`gateway.slurm.config.cluster_config`."""
        return cluster_config(self.site, request)

    async def start_cluster(self, user: FacilityUser, cluster_options: Any) -> str:
        """Make a cluster; returns its name when its environment was found good, as the user.

        The longest check, whether Dask can be imported, is made while the scheduler's job already starts. Raises
        :class:`Refusal`; nothing is left then.
        """
        prepared = await self.prepare(user, cluster_options)
        cluster = self.db.create_cluster(user.name, prepared.options, prepared.config.to_dict())
        try:
            await self._act(cluster, "prepare", plan=cluster.config.plan, files=self._files(cluster, prepared.request))
        except BaseException as error:
            self._forget(cluster)
            raise self._explained(cluster, error) from error
        self.log.info("Created cluster %s for user %s", cluster.name, user.name)
        self.queue.put(cluster)
        try:
            await self._act(cluster, "imports", plan=cluster.config.plan)
        except BaseException as error:
            await self._discard(cluster)
            raise self._explained(cluster, error) from error
        return str(cluster.name)

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
            self._forget(cluster)

    def _forget(self, cluster: Cluster) -> None:
        """Keep no record of a cluster of which nothing else is left."""
        with self.db.db.begin() as connection:
            connection.execute(clusters_table.delete().where(clusters_table.c.id == cluster.id))
        del self.db.id_to_cluster[cluster.id], self.db.name_to_cluster[cluster.name]
        self.db.username_to_clusters[cluster.username].pop(cluster.name)

    async def _act(self, cluster: Cluster, action: str, **arguments: Any) -> dict[str, Any]:
        """Have the launcher do something as the cluster's user.

        Raises :class:`Refusal` for what is the user's to mend, :class:`LauncherError` for the rest.
        """
        request = {"action": action, "cluster": cluster.name, "uid": cluster.config.uid, "gid": cluster.config.gid}
        process = await asyncio.create_subprocess_exec(
            *("sudo", "-nHu", cluster.username, *LAUNCHER),
            env={},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await asyncio.wait_for(
                process.communicate(json.dumps({**request, **arguments}).encode()), ACT_SECONDS
            )
        except TimeoutError:
            # It can't be ended from here: it is another user's. Most likely it waits for a file system.
            raise LauncherError(f"{action!r} took longer than {ACT_SECONDS} s") from None
        return read_answer(action, output, errors)

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

    async def do_start_cluster(self, cluster: Cluster) -> AsyncIterator[dict[str, Any]]:
        """Submit the scheduler's job; yields the state to remember."""
        config = cluster.config
        job = await self._submit(
            cluster,
            SCHEDULER_LOG.format(cluster.name),
            self.get_scheduler_command(cluster),
            cores=config.scheduler_cores,
            memory=config.scheduler_memory,
        )
        yield {"job_id": job}

    async def do_start_worker(self, worker: Worker) -> AsyncIterator[dict[str, Any]]:
        """Submit a worker's job; yields the state to remember."""
        cluster = worker.cluster
        job = await self._submit(
            cluster,
            f"dask-worker-{worker.name}.log",
            self.get_worker_command(cluster, worker.name),
            cores=cluster.config.worker_cores,
            memory=cluster.config.worker_memory,
        )
        yield {"job_id": job}

    async def _submit(self, cluster: Cluster, log: str, command: Sequence[str], *, cores: int, memory: int) -> str:
        config = cluster.config
        options = {
            "job-name": jobs.NAME,
            "partition": config.partition,
            "account": config.account,
            "qos": config.qos,
            "cpus-per-task": str(cores),
            "mem": slurm_format_memory(memory),
            "time": str(math.ceil(config.lifetime_seconds / 60)),
        }
        answer = await self._act(
            cluster,
            "submit",
            log=log,
            script=self._script(cluster, command),
            options={name: value for name, value in options.items() if value},
        )
        self.log.info("Job %s submitted for %s of cluster %s", answer["job"], log, cluster.name)
        return str(answer["job"])

    def _script(self, cluster: Cluster, command: Sequence[str]) -> str:
        """The script of a job; SLURM's accounting keeps it, so there is nothing secret in it."""
        folder = self.get_staging_directory(cluster)
        plan = preflight.decoded(cluster.config.plan)._replace(variables=f"{folder}/{launcher.VARIABLES}")
        # Isolated, because nothing of the user's may change what runs before their variables are there.
        words = [plan.python, "-I", f"{folder}/{launcher.PROGRAM}", "start", plan.encoded(), *command]
        return f"#!/bin/sh\nexec {shlex.join(words)}\n"

    async def do_stop_cluster(self, cluster: Cluster) -> None:
        """Cancel the scheduler's job and remove the cluster's folder."""
        job = cluster.state.get("job_id")
        if cluster.state != GONE:
            await self._act(cluster, "cancel", jobs=[job] if job else [], remove=True)

    async def do_stop_worker(self, worker: Worker) -> None:
        """Cancel a worker's job."""
        job = worker.state.get("job_id")
        if job is not None:
            await self._act(worker.cluster, "cancel", jobs=[job], remove=False)


def read_answer(action: str, output: bytes, errors: bytes) -> dict[str, Any]:
    """What the launcher answers. Raises :class:`Refusal` or :class:`LauncherError`."""
    try:
        answer: Mapping[str, Any] = json.loads(output)
    except ValueError:
        # sudo itself says no, or the program did not start.
        said = errors.decode(errors="replace").strip()[-500:]
        raise LauncherError(f"the launcher did not answer to {action!r}: {said}") from None
    if "refusal" in answer:
        raise Refusal(answer["refusal"])
    if not answer["ok"]:
        raise LauncherError(f"{action!r} failed: {answer['error']}")
    return dict(answer)
