"""SLURM's queue is data: jobs that a user forges harm no other user, and no user fills the queue."""

import contextlib
from collections.abc import Iterator

import pytest

from gateway.site import Backend
from gateway.slurm import cluster_folder, jobs
from testbed import docker, submission
from testbed.waiting import until
from tests.e2e import faults, notebooks
from tests.e2e.administration import Administrator, SlurmAdministrator
from tests.e2e.back_ends import on_kubernetes, on_slurm
from tests.e2e.machines import SETTINGS, SLURMCTLD
from tests.e2e.notebooks import Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

RELEASE = SETTINGS.slurm.release
UNKNOWN = "e" * 32
"""Name of a cluster that the gateway does not know."""
TOO_MANY = 100_000
WORKS = "client.submit(lambda: 6 * 7, pure=False).result(timeout=60)"


@pytest.fixture
def alice(backend: Backend, no_leftovers: None) -> Iterator[Notebook]:
    """Return a notebook with a cluster."""
    with notebooks.connected("alice", backend) as kernel:
        notebooks.start_cluster(kernel)
        yield kernel


@contextlib.contextmanager
def submitted(person: str, comment: str, folder: str = "/tmp", name: str = jobs.NAME) -> Iterator[str]:
    """Submit a job of a person's own; yield its id, and cancel it at the end."""
    options = [f"--job-name={name}", f"--comment={comment}", f"--chdir={folder}", "--output=/dev/null"]
    command = ["runuser", "-u", person, "--", "sbatch", "--parsable", *options, "--wrap=sleep 600"]
    number = docker.execute(submission.CONTAINER, command).strip()
    try:
        yield number
    finally:
        docker.execute(SLURMCTLD, ["scancel", number])


def folder_of(person: str, cluster: str) -> str:
    """Return the path of a person's cluster folder."""
    return cluster_folder.folder(cluster_folder.staging_directory(SETTINGS.slurm.staging_directory, person), cluster)


def jobs_in(folder: str) -> list[str]:
    """Return the ids of the jobs whose working directory is a folder."""
    listed = docker.execute(SLURMCTLD, ["squeue", "--noheader", "--array", "--format", "%i %Z"])
    return [line.split()[0] for line in listed.splitlines() if line.split()[-1] == folder]


@on_slurm
@pytest.mark.finding("R1")
def test_forged_jobs_harm_no_other_user(alice: Notebook, administrator: SlurmAdministrator) -> None:
    """Comments of bob's jobs forge rows of squeue, old and new, and their folder is that of alice's cluster.

    The gateway has polled the queue after all of them when it has cancelled an orphan of bob's.
    """
    name = alice.run("cluster.name")
    victims = folder_of("alice", name)
    with contextlib.ExitStack() as stack:
        batch = stack.enter_context(submitted("alice", "my own", name="batch"))
        rows = [f"{batch}|RUNNING|20001", *(f"{number}|FAILED|20001" for number in jobs_in(victims))]
        old = [f"{batch}|RUNNING|alice|20001|20000|{RELEASE}/{UNKNOWN}|None"]
        for comment in ("x|None\n" + "\n".join(rows), "x|None\n" + "\n".join(old), "x\ny"):
            stack.enter_context(submitted("bob", comment))
        stack.enter_context(submitted("bob", RELEASE, victims))
        orphan = stack.enter_context(submitted("bob", RELEASE, folder_of("bob", UNKNOWN)))
        until(
            "the gateway has cancelled bob's orphan",
            lambda: f"job/{orphan}" not in administrator.all_objects(),
            seconds=120,
        )
        assert f"job/{batch}" in administrator.all_objects()
        assert set(jobs_in(victims)) >= {row.split("|")[0] for row in rows[1:]}
        assert alice.run(WORKS) == 42


@on_slurm
@pytest.mark.finding("R4d")
def test_a_cluster_gets_a_bounded_number_of_jobs(alice: Notebook, administrator: Administrator) -> None:
    bound = SETTINGS.slurm.maximum_workers.per_cluster
    folder = folder_of("alice", alice.run("cluster.name"))
    nodes = docker.execute(SLURMCTLD, ["sinfo", "--noheader", "--format", "%N"]).strip()
    # On drained nodes the surplus jobs stay in the queue.
    with faults.drained(nodes):
        (warning,) = alice.run(notebooks.warnings_of(f"cluster.scale({TOO_MANY})"))
        assert warning.startswith(
            f"The site allows {bound} workers to a cluster: the cluster requests {bound} instead of {TOO_MANY}."
        )
        # The scheduler's job is one more.
        until("the gateway has submitted the workers", lambda: len(jobs_in(folder)) == bound + 1, seconds=60)
        assert alice.run(WORKS) == 42
        alice.run("cluster.scale(1)")
        until("the surplus jobs are cancelled", lambda: len(jobs_in(folder)) == 2, seconds=90)


@on_kubernetes
@pytest.mark.finding("R4d")
def test_a_cluster_requests_a_bounded_number_of_pods(backend: Backend, no_leftovers: None) -> None:
    bound = SETTINGS.kubernetes.maximum_workers.per_cluster
    with notebooks.connected("alice", backend) as kernel:
        # So large that the user total admits a few pods, and no node any.
        kernel.run(notebooks.new_cluster({**notebooks.SMALL, "worker_cores": 64}))
        (warning,) = kernel.run(notebooks.warnings_of(f"cluster.scale({TOO_MANY})"))
        assert warning.startswith(
            f"The site allows {bound} workers to a cluster: the cluster requests {bound} instead of {TOO_MANY}."
        )
        assert f"of the {bound} workers that you asked for" in warning
