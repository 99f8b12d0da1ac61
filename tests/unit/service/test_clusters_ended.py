"""Test that metrics count each end of a cluster once, by its cause."""

import asyncio
import base64
import collections
import contextlib
from types import SimpleNamespace

import pytest
from dask_gateway_server.backends.db_base import DataManager, JobStatus
from dask_gateway_server.models import User
from kubernetes_asyncio.client.rest import ApiException

from gateway.errors import Refusal
from gateway.identity.accounts import Account, classify
from gateway.identity.authenticator import FacilityUser
from gateway.kubernetes.api.backend import FacilityKubeBackend
from gateway.kubernetes.api.configuration import api_config
from gateway.request.quota import Resources
from gateway.service import metrics
from gateway.service.termination import EndCause, StartFailure
from gateway.site import GIB, Backend
from gateway.slurm import launcher_client, queries
from gateway.slurm.backend import FacilitySlurmBackend
from gateway.slurm.cluster_configuration import FacilitySlurmClusterConfig
from gateway.slurm.configuration import cluster_config, server_config
from gateway.slurm.jobs import Job, Queue
from gateway.slurm.launcher_client import LauncherError
from tests.unit.kubernetes.samples import ALICE
from tests.unit.kubernetes.world import World, sized, stamp
from tests.unit.slurm.world import TOKEN


def ends():
    """Return (series, back end, cause) -> count."""
    return collections.Counter(
        {
            (sample.name, sample.labels["backend"], sample.labels["cause"]): int(sample.value)
            for counter in (metrics.START_FAILURES, metrics.CLUSTERS_ENDED)
            for family in counter.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }
    )


@contextlib.contextmanager
def counted(backend, *causes):
    """Check that the block counts exactly these causes, each once."""
    before = ends()
    yield
    names = {StartFailure: "dask_gateway_start_failures_total", EndCause: "dask_gateway_clusters_ended_total"}
    assert dict(ends() - before) == {(names[type(cause)], backend.value, cause.value): 1 for cause in causes}


def test_all_causes_begin_at_zero():
    metrics.begin(Backend.SLURM)
    for cause in StartFailure:
        assert ("dask_gateway_start_failures_total", "slurm", cause.value) in ends()
    for cause in EndCause:
        assert ("dask_gateway_clusters_ended_total", "slurm", cause.value) in ends()


class TestKubernetes:
    @pytest.fixture
    async def world(self, testbed_site):
        return World(testbed_site)

    async def late(self, world):
        """Return a cluster past its start timeout."""
        cluster = world.cluster("c1", phase="Pending")
        await world.step(cluster)
        cluster["metadata"]["creationTimestamp"] = stamp(121)
        return cluster

    async def ended(self, world, name="c1"):
        """Let the controller end a cluster, and reconcile it again before the informer sees that."""
        for _ in range(2):
            await world.controller.reconcile_cluster(f"cms-dask.{name}")
        return world.kubernetes.statuses[name]

    async def test_an_image(self, world):
        await self.late(world)
        state = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
        statuses = [{"name": "dask-scheduler", "state": state}]
        world.kubernetes.pods["dask-scheduler-c1"]["status"] = {"phase": "Pending", "containerStatuses": statuses}
        world.news()
        with counted(Backend.KUBERNETES, StartFailure.IMAGE):
            status = await self.ended(world)
        assert (status["phase"], status["cause"]) == ("Failed", "image")

    async def test_a_mount(self, world):
        await self.late(world)
        world.kubernetes.events = [{"type": "Warning", "reason": "FailedMount", "message": "not a directory"}]
        world.news()
        with counted(Backend.KUBERNETES, StartFailure.MOUNT):
            await self.ended(world)

    async def test_no_node(self, world):
        await self.late(world)
        condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}
        world.kubernetes.pods["dask-scheduler-c1"]["status"] = {"phase": "Pending", "conditions": [condition]}
        world.news()
        with counted(Backend.KUBERNETES, StartFailure.UNSCHEDULABLE):
            await self.ended(world)

    async def test_preflight(self, world):
        cluster = world.cluster("c1", phase="Pending")
        await world.step(cluster)
        state = {"terminated": {"exitCode": 78, "message": "no pixi.toml"}}
        statuses = [{"name": "dask-scheduler", "state": state}]
        world.kubernetes.pods["dask-scheduler-c1"]["status"] = {"phase": "Failed", "containerStatuses": statuses}
        world.news()
        with counted(Backend.KUBERNETES, StartFailure.PREFLIGHT):
            status = await self.ended(world)
        assert (status["phase"], status["cause"], status["reason"]) == ("Failed", "preflight", "no pixi.toml")

    async def test_the_total(self, world):
        await world.step(await world.running("c1", sized(57), replicas=7))
        world.cluster("c2", phase="Pending")
        with counted(Backend.KUBERNETES, StartFailure.TOTAL):
            await self.ended(world, "c2")

    async def test_an_account_of_the_system(self, world):
        world.directory.accounts = [Account("alice", 0, 0, ())]
        world.cluster("c1", phase="Pending")
        with counted(Backend.KUBERNETES, StartFailure.OTHER):
            await self.ended(world)

    @pytest.mark.parametrize(
        ("options", "cause"),
        [
            ({"active": False}, EndCause.USER),
            ({"age": 86401, "lastClient": stamp(5)}, EndCause.LIFETIME),
            ({"age": 3601}, EndCause.CLIENT_GONE),
        ],
    )
    async def test_ends_of_what_ran(self, world, options, cause):
        await world.running("c1", **options)
        with counted(Backend.KUBERNETES, cause):
            await self.ended(world)

    async def test_a_scheduler_that_ended(self, world):
        await world.running("c1")
        world.becomes("dask-scheduler-c1", "terminated", phase="Failed")
        with counted(Backend.KUBERNETES, EndCause.FAILED):
            await self.ended(world)

    async def test_an_end_that_could_not_be_stored_is_not_counted_yet(self, world, monkeypatch):
        await world.running("c1", active=False)

        async def refuse(*_):
            raise ApiException(status=500)

        with counted(Backend.KUBERNETES), monkeypatch.context() as patched:
            patched.setattr(world.kubernetes, "patch_namespaced_custom_object_status", refuse)
            with pytest.raises(ApiException):
                await world.controller.reconcile_cluster("cms-dask.c1")
        with counted(Backend.KUBERNETES, EndCause.USER):
            await self.ended(world)

    def test_the_total_is_refused_by_the_api_server_too(self, testbed_site, monkeypatch):
        backend = FacilityKubeBackend(config=api_config(testbed_site), site=testbed_site)
        total = Resources.of_total(testbed_site.kubernetes.user_total, 1000)
        monkeypatch.setattr(backend, "_held_of_total", lambda _: ({"cms-dask.c1": total}, total))
        config = SimpleNamespace(to_dict=lambda: {"scheduler_cores": 1, "scheduler_memory": GIB})
        user = FacilityUser(User("alice"), classify("alice", testbed_site.identity.classes), ALICE.account)
        with counted(Backend.KUBERNETES, StartFailure.TOTAL), pytest.raises(Refusal, match="There is no room"):
            backend._check_room(user, SimpleNamespace(config=config))


class TestSlurm:
    @pytest.fixture
    def backend(self, testbed_site, monkeypatch):
        """Return a back end without SLURM; the test says what its jobs do."""
        config = server_config(testbed_site)
        config.FacilitySlurmBackend.db_encrypt_keys = [base64.b64encode(bytes(32)).decode()]
        made = FacilitySlurmBackend(config=config, site=testbed_site)
        made.db, made._started, made._last_client = DataManager(), 0, {}
        made.accounting_command = "sacct"
        made.queue = SimpleNamespace(put=lambda cluster: cluster.shutdown.set())

        async def nothing(*_, **__):
            return {}

        made.proxy = SimpleNamespace(remove_route=nothing)
        monkeypatch.setattr(launcher_client, "act", nothing)
        return made

    @pytest.fixture
    async def cluster(self, backend, testbed_site):
        config = FacilitySlurmClusterConfig(**cluster_config(testbed_site, ALICE))
        return backend.db.create_cluster("alice", {}, config.to_dict())

    async def closing(self, backend):
        for cluster in list(backend.db.name_to_cluster.values()):
            if cluster.target > JobStatus.RUNNING:
                await backend.reconcile_cluster(cluster)

    @pytest.mark.parametrize(
        ("job", "cause"),
        [
            ("PENDING", StartFailure.QUEUE),
            ("RUNNING", StartFailure.NO_ANSWER),
            ("FAILED", StartFailure.JOB_ENDED),
            (None, StartFailure.JOB_ENDED),
        ],
    )
    async def test_late_schedulers(self, backend, cluster, monkeypatch, job, cause):
        async def known(_):
            return Queue({} if job is None else {"7": Job(job, ALICE.account.uid)})

        monkeypatch.setattr(queries, "listed", known)
        start = cluster.start_time - 121_000
        backend.db.update_cluster(cluster, status=JobStatus.SUBMITTED, state={"job_id": "7"}, start_time=start)
        with counted(Backend.SLURM, cause):
            for _ in range(2):
                await backend._check_timeouts()
                await self.closing(backend)

    async def test_a_job_that_ended_before_its_scheduler_was_ready(self, backend, cluster, monkeypatch):
        async def none_lives(_):
            return Queue({})

        async def silent(*_):
            return None

        monkeypatch.setattr(queries, "listed", none_lives)
        monkeypatch.setattr(queries, "end_of", silent)
        backend.db.update_cluster(cluster, status=JobStatus.SUBMITTED, state={"job_id": "7"})
        assert await backend.do_check_clusters([cluster]) == [False]
        backend.db.update_cluster(cluster, target=JobStatus.FAILED)
        with counted(Backend.SLURM, StartFailure.JOB_ENDED):
            await self.closing(backend)

    @pytest.mark.parametrize(
        ("error", "cause"),
        [
            (Refusal("no pixi.toml"), StartFailure.PREFLIGHT),
            (LauncherError("sudo: no"), StartFailure.LAUNCHER),
            (asyncio.CancelledError(), StartFailure.OTHER),
        ],
    )
    async def test_what_the_launcher_refuses(self, backend, testbed_site, monkeypatch, error, cause):
        async def act(_, asked, **__):
            if asked == "start":
                raise error
            return {}

        ending = []

        def put(cluster):
            # Stands in for upstream's reconcile loop.
            if cluster.target is JobStatus.FAILED:
                ending.append(asyncio.ensure_future(backend.reconcile_cluster(cluster)))
                backend.queue.put = lambda cluster: cluster.shutdown.set()

        monkeypatch.setattr(launcher_client, "act", act)
        backend.queue.put = put
        user = FacilityUser(User("alice"), classify("alice", testbed_site.identity.classes), ALICE.account)
        user = user.with_token(TOKEN)
        with counted(Backend.SLURM, cause):
            with pytest.raises((Refusal, asyncio.CancelledError)):
                await backend.start_cluster(user, {"conda_env": "/depot/cms/users/alice/c"})
            await asyncio.gather(*ending)
        assert bool(ending) is not isinstance(error, Refusal)

    @pytest.mark.parametrize(
        ("status", "target", "cause"),
        [
            (JobStatus.RUNNING, JobStatus.STOPPED, EndCause.USER),
            (JobStatus.SUBMITTED, JobStatus.STOPPED, EndCause.USER),
            (JobStatus.RUNNING, JobStatus.FAILED, EndCause.FAILED),
            (JobStatus.SUBMITTED, JobStatus.FAILED, StartFailure.OTHER),
        ],
    )
    async def test_other_ends(self, backend, cluster, status, target, cause):
        backend.db.update_cluster(cluster, status=status, target=target)
        with counted(Backend.SLURM, cause):
            await self.closing(backend)

    @pytest.mark.parametrize(
        ("age", "said", "cause"), [(86401, 0, EndCause.LIFETIME), (4000, 3601, EndCause.CLIENT_GONE)]
    )
    async def test_bounds_of_time(self, backend, cluster, age, said, cause):
        now = cluster.start_time
        backend.db.update_cluster(cluster, status=JobStatus.RUNNING, start_time=now - age * 1000)
        cluster.last_heartbeat = now
        backend._last_client[cluster.name] = now - said * 1000
        with counted(Backend.SLURM, cause):
            for _ in range(2):
                await backend._check_timeouts()
                await self.closing(backend)
