"""Start of a cluster on SLURM: its record, its folder, its scheduler's job, which checks the environment first."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from dask_gateway_server.auth import unauthorized
from dask_gateway_server.backends.db_base import Cluster, JobStatus
from dask_gateway_server.backends.jobqueue import slurm

from gateway.as_user import dashboard_guard, preload
from gateway.errors import Refusal
from gateway.identity import hub
from gateway.identity.authenticator import FacilityUser
from gateway.request import environment_variables
from gateway.request.options import ClusterRequest
from gateway.service import metrics, preflight_refusals, scheduler_reports
from gateway.service.backend import Created, FacilityBackend, Prepared
from gateway.service.dashboards import guard
from gateway.service.termination import Cause, StartFailure
from gateway.slurm import cluster_folder, launcher_client, records, submission
from gateway.slurm.jobs import Owner
from gateway.slurm.launcher_client import LauncherError

PREFLIGHT_SECONDS = 30.0
"""How long the answer to a new cluster waits for the preflight in the scheduler's job. A job that waits longer in
SLURM's queue is no failure: the client gets the cluster's name, and reads a later refusal as the cluster's failure."""
STARTING = {"starting": True}
"""State of a cluster whose folder and job may exist, although the launcher has not answered."""
DISCARD_SECONDS = 60
"""How long a refusal waits for the end of the scheduler's job that is already submitted."""


class StartBackend(FacilityBackend, slurm.SlurmBackend):  # type: ignore[misc] # upstream has no types
    """The part of the back end that starts clusters."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.causes: dict[str, Cause] = {}
        """Cluster -> cause of its termination, where the gateway knows more than the cluster's last states show."""
        self.reasons: dict[str, str] = {}
        """Cluster -> why it did not start."""
        self.submitting: set[str] = set()
        """Clusters whose jobs are being submitted, so that the ids are not in their records yet."""
        self._cluster_created = asyncio.Event()
        self._refusals: dict[str, str | None] = {}
        """Cluster whose request waits for the preflight -> the refusal, once there is one."""

    def setup_requests(self, app: web.Application) -> None:
        """Do what :meth:`FacilityBackend.setup_requests` does, and accept refusals of the preflight."""
        super().setup_requests(app)
        app.on_shutdown.append(self.answer_waiting_clients)
        preflight_refusals.take(app, self.note_refusal)

    async def answer_waiting_clients(self, _: web.Application) -> None:
        """Answer clients that wait for a cluster to start, at shutdown: they poll again after the restart."""
        for cluster in records.present_clusters(self.db):
            cluster.ready.set()

    async def note_refusal(self, name: str, text: str) -> None:
        """Note that the preflight has refused a cluster, and end the cluster; do nothing once it has started."""
        cluster = self.db.get_cluster(name)
        if cluster is None or cluster.status >= JobStatus.RUNNING or cluster.target > JobStatus.RUNNING:
            return
        if name in self._refusals:
            # The request that waits ends the cluster.
            self._refusals[name] = text
            cluster.ready.set()
            return
        self.log.info("Cluster %s of %s is refused: %s", name, cluster.username, text)
        self.reasons[name], self.causes[name] = text, StartFailure.PREFLIGHT
        self.db.update_cluster(cluster, target=JobStatus.FAILED)
        self.queue.put(cluster)

    def reason_of(self, name: str) -> str | None:
        """Return why a cluster did not start, if the gateway knows it."""
        return self.reasons.get(name)

    async def wait_for_cluster(self) -> None:
        """Return when a cluster exists that has not ended.

        Without a cluster, upstream's loops would wake the process eight times a minute.
        """
        if not records.present_clusters(self.db):
            self._cluster_created.clear()
            await self._cluster_created.wait()

    async def start_cluster(self, user: FacilityUser, cluster_options: Any) -> str:
        """Do what :meth:`FacilityBackend.start_cluster` does, for a request that carries the user's token.

        Answers 401 to a request with a cookie alone: the stock client then sends the request again, with its token.
        """
        if user.token is None:
            raise unauthorized("jupyterhub")
        return await super().start_cluster(user, cluster_options)

    async def _create_cluster(self, user: FacilityUser, prepared: Prepared) -> Created:
        """Create the record and the cluster's folder, and submit the scheduler's job."""
        cluster = self.db.create_cluster(user.name, prepared.options, prepared.config.to_dict())
        self._cluster_created.set()
        self._refusals[cluster.name] = None
        try:
            await self._prepare_folder(cluster, prepared.request, user.token)
        except BaseException:
            self._refusals.pop(cluster.name, None)
            raise
        self.log.info("Created cluster %s for user %s", cluster.name, user.name)
        self.queue.put(cluster)
        return Created(str(cluster.name), cluster)

    async def _verify_cluster(self, created: Created, request: ClusterRequest) -> None:  # noqa: ARG002 - as the base
        """Wait until the preflight in the scheduler's job has passed or refused, but no longer than its bound."""
        cluster: Cluster = created.handle
        try:
            await asyncio.wait_for(cluster.ready, PREFLIGHT_SECONDS)
        except TimeoutError:
            pass
        finally:
            refusal = self._refusals.pop(cluster.name)
        if refusal is not None:
            raise Refusal(refusal)

    async def _abandon_cluster(self, created: Created, error: BaseException) -> BaseException:
        """End the cluster's job, and delete its folder, logs and record."""
        cluster: Cluster = created.handle
        await self._discard(cluster, failure_of_error(error))
        return self._explained(cluster, error)

    async def _prepare_folder(self, cluster: Cluster, request: ClusterRequest, token: str | None) -> None:
        """Have the launcher make the cluster's folder and submit the scheduler's job, for the user of the token.

        Raises :class:`gateway.errors.Refusal`; then nothing is left, or the gateway goes on removing it.
        """
        self.submitting.add(cluster.name)
        self.db.update_cluster(cluster, state=STARTING)
        try:
            files, job = self._files(cluster, request), self._scheduler_job(cluster)
            answer = await launcher_client.act(Owner.of(cluster), "start", files=files, job=job, token=token)
            if "job" in answer:
                self.log.info("Scheduler of cluster %s submitted as job %s", cluster.name, answer["job"])
                self.db.update_cluster(cluster, state={"job_id": answer["job"]})
        except Refusal:
            metrics.count(self.kind, StartFailure.PREFLIGHT)
            records.forget(self.db, cluster)
            raise
        except BaseException as error:
            await self._discard(cluster, failure_of_error(error))
            raise self._explained(cluster, error) from error
        finally:
            self.submitting.discard(cluster.name)

    def _explained(self, cluster: Cluster, error: BaseException) -> BaseException:
        """Return the error as the user may see it; log the launcher's and the hub's errors."""
        if not isinstance(error, LauncherError | hub.HubUnavailable):
            return error
        self.log.error("Cluster %s of %s: %s", cluster.name, cluster.username, error)
        if isinstance(error, hub.HubUnavailable):
            return Refusal(hub.advice(error))
        return Refusal(
            f"The gateway could not prepare your cluster on the submission host: {error}."
            " Try again; if it stays so, tell the administrators."
        )

    async def _discard(self, cluster: Cluster, cause: StartFailure) -> None:
        """End a refused cluster, whose scheduler's job may run already, and delete its folder, logs and record."""
        if cluster.target <= JobStatus.RUNNING:
            self.causes[cluster.name] = cause
        self.db.update_cluster(cluster, target=JobStatus.FAILED)
        self.queue.put(cluster)
        try:
            await asyncio.wait_for(cluster.shutdown, DISCARD_SECONDS)
            await launcher_client.act(Owner.of(cluster), "discard")
        except (TimeoutError, LauncherError) as error:
            # The record stays, so that the gateway keeps retrying to end the cluster.
            self.log.error("Refused cluster %s of %s has not ended: %r", cluster.name, cluster.username, error)
        else:
            records.forget(self.db, cluster)

    def _files(self, cluster: Cluster, request: ClusterRequest) -> dict[str, str]:
        """Return the files of the cluster's folder, with secrets and variables: name -> content in base64."""
        contents = {
            cluster_folder.CERTIFICATE: cluster.tls_cert,
            cluster_folder.KEY: cluster.tls_key,
            cluster_folder.TOKEN: cluster.token.encode(),
            cluster_folder.VARIABLES: environment_variables.encoded({**request.variables, **self.get_env(cluster)}),
        }
        return {name: b64encode(content).decode() for name, content in contents.items()}

    def get_staging_directory(self, cluster: Cluster) -> str:
        """Return the cluster's folder, which the launcher makes."""
        return cluster_folder.folder(_staging(cluster), cluster.name)

    def scheduler_log_of(self, cluster: Cluster) -> str:
        """Return the path of the scheduler's log."""
        logs = cluster_folder.cluster_logs(_staging(cluster), cluster.name)
        return f"{logs}/{cluster_folder.SCHEDULER_LOG.format(cluster.name)}"

    def get_env(self, cluster: Cluster) -> dict[str, str]:
        """Return the gateway's own variables for schedulers and workers; the launcher writes them into a file.

        The token and the key pair are files too. Upstream passes the variables to sbatch, so that SLURM's accounting
        stores the token.
        """
        certificate, key = self.get_tls_paths(cluster)
        tls = "DASK_DISTRIBUTED__COMM__TLS__"
        return {
            "DASK_GATEWAY_API_URL": self.api_url,
            "DASK_GATEWAY_API_TOKEN": f"{self.get_staging_directory(cluster)}/{cluster_folder.TOKEN}",
            "DASK_GATEWAY_CLUSTER_NAME": cluster.name,
            preload.REPORT_SECONDS: str(self.site.slurm.timeouts.report_seconds),
            dashboard_guard.SECRET: guard.secret_of(cluster.name),
            "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
            f"{tls}CA_FILE": certificate,
            **{f"{tls}{role}__CERT": certificate for role in ("SCHEDULER", "WORKER")},
            **{f"{tls}{role}__KEY": key for role in ("SCHEDULER", "WORKER")},
        }

    def get_scheduler_command(self, cluster: Cluster) -> list[str]:
        """Return upstream's command with our preload before upstream's own."""
        path = f"{self.get_staging_directory(cluster)}/{cluster_folder.PRELOAD}"
        return scheduler_reports.with_preload(super().get_scheduler_command(cluster), path)

    async def do_start_cluster(self, cluster: Cluster) -> AsyncIterator[dict[str, Any]]:
        """Submit the scheduler's job, unless SLURM accepted it in :meth:`start_cluster`; yield the state to store."""
        if "job_id" in cluster.state:
            yield cluster.state
            return
        self.submitting.add(cluster.name)
        try:
            answer = await launcher_client.act(Owner.of(cluster), "submit", **self._scheduler_job(cluster))
            self.log.info("Scheduler of cluster %s submitted as job %s", cluster.name, answer["job"])
            yield {"job_id": answer["job"]}
        except LauncherError as error:
            self.reasons[cluster.name] = f"SLURM did not take the scheduler's job: {error}. Try again later."
            self.causes[cluster.name] = StartFailure.LAUNCHER
            raise
        finally:
            self.submitting.discard(cluster.name)

    def _scheduler_job(self, cluster: Cluster) -> dict[str, Any]:
        return submission.scheduler_job(
            self.site.slurm, cluster, self.get_staging_directory(cluster), self.get_scheduler_command(cluster)
        )


def _staging(cluster: Cluster) -> str:
    return cluster_folder.staging_directory(cluster.config.staging_directory, cluster.username)


def failure_of_error(error: BaseException) -> StartFailure:
    """Return the cause to count for an error of a start."""
    if isinstance(error, Refusal):
        return StartFailure.PREFLIGHT
    return StartFailure.LAUNCHER if isinstance(error, Exception) else StartFailure.OTHER
