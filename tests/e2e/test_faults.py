"""Parts die while a computation with a known result runs: the result is right, and nothing is left over."""

import json
from collections.abc import Callable, Iterator

import pytest

from gateway.kubernetes import names
from gateway.site import Backend
from gateway.slurm import jobs
from testbed import cluster, docker, slurm, submission
from testbed.waiting import until
from tests.e2e import faults, notebooks
from tests.e2e.administration import (
    SETTINGS,
    SLURMCTLD,
    Administrator,
    SlurmAdministrator,
    directory_identity,
    kubectl,
    of_cluster,
)
from tests.e2e.notebooks import CellError, Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

OpenNotebook = Callable[[str], Notebook]
on_kubernetes = pytest.mark.parametrize("backend", [Backend.KUBERNETES], indirect=True, scope="session", ids=str)
on_slurm = pytest.mark.parametrize("backend", [Backend.SLURM], indirect=True, scope="session", ids=str)
START_COMPUTING = """
import time

def square(number):
    time.sleep(0.5)
    return number * number

total = client.submit(sum, client.map(square, range(60), pure=False), pure=False)
"""
EXPECTED = sum(number * number for number in range(60))
RESULT = "total.result(timeout=120)"
WORKERS = "sorted(worker['name'] for worker in client.scheduler_info(n_workers=-1)['workers'].values())"
ADDRESSES = "[(address, each['name']) for address, each in client.scheduler_info(n_workers=-1)['workers'].items()]"


def each(table: dict[Backend, dict[str, faults.Fault]]) -> pytest.MarkDecorator:
    """A test of every fault of a table."""
    cases = [
        pytest.param(backend, fault, id=f"{backend}-{name}")
        for backend, by_name in table.items()
        for name, fault in by_name.items()
    ]
    return pytest.mark.parametrize(("backend", "fault"), cases, indirect=["backend"], scope="session")


@pytest.fixture
def bob(backend: Backend, administrator: Administrator, open_notebook: OpenNotebook) -> Iterator[Notebook]:
    """A notebook with a cluster of two workers; at the end it is shut down, and nothing is left of it."""
    until("the gateway answers", lambda: faults.answers(backend), seconds=faults.BACK_SECONDS)
    before = administrator.everything()
    kernel = open_notebook("bob")
    kernel.run(notebooks.new_cluster(notebooks.SMALL))
    kernel.run(notebooks.connect(2))
    yield kernel
    until("the gateway answers", lambda: faults.answers(backend), seconds=faults.BACK_SECONDS)
    kernel.run("client.close()\nfor report in gateway.list_clusters():\n    gateway.stop_cluster(report.name)")
    left = {name for name in administrator.everything() - before if "daskcluster" not in name}
    until("nothing is left", lambda: not left & administrator.everything(), seconds=90)


@each(faults.QUIET)
def test_a_computation_does_not_notice(bob: Notebook, fault: faults.Fault) -> None:
    before = bob.run(WORKERS)
    bob.run(START_COMPUTING)
    with fault():
        assert bob.run(RESULT) == EXPECTED
    assert bob.run(WORKERS) == before
    name = bob.run("cluster.name")
    until("the gateway knows the cluster", lambda: name in _known(bob), seconds=60)
    bob.run("cluster.scale(3)\nclient.wait_for_workers(3, timeout=120)")


def _known(kernel: Notebook) -> list[str]:
    try:
        return list(kernel.run("[report.name for report in gateway.list_clusters()]"))
    except CellError:
        return []


@each(faults.LOUD)
def test_a_client_comes_back_to_its_workers(bob: Notebook, backend: Backend, fault: faults.Fault) -> None:
    before = bob.run(WORKERS)
    with fault():
        until("the gateway answers", lambda: faults.answers(backend), seconds=faults.BACK_SECONDS)
    until("the client is connected", lambda: bob.run("client.status") == "running", seconds=60)
    bob.run(START_COMPUTING)
    assert bob.run(RESULT) == EXPECTED
    assert bob.run(WORKERS) == before


def _kill_worker(backend: Backend, name: str, worker: str) -> None:
    if backend is Backend.SLURM:
        faults.kill_processes(worker)
    else:
        (pod,) = (pod for pod in _pods(name, names.WORKER_COMPONENT) if pod["name"] == worker)
        faults.kill_pod(pod)


def _pods(name: str, component: str) -> list[dict[str, str]]:
    return faults.pods(of_cluster(name, component))


def test_a_killed_worker_is_replaced(bob: Notebook, backend: Backend) -> None:
    name, workers = bob.run("cluster.name"), dict(bob.run(ADDRESSES))
    address, killed = next(iter(workers.items()))
    bob.run(START_COMPUTING)
    _kill_worker(backend, name, killed)
    assert bob.run(RESULT) == EXPECTED
    # On Kubernetes it is the same pod, started again.
    until("two are there again", lambda: len(set(dict(bob.run(ADDRESSES))) - {address}) == 2, seconds=90)
    assert address not in dict(bob.run(ADDRESSES))


def test_who_computes_learns_that_the_scheduler_was_killed(
    bob: Notebook, backend: Backend, administrator: Administrator
) -> None:
    name = bob.run("cluster.name")
    bob.run(START_COMPUTING)
    if backend is Backend.SLURM:
        faults.kill_processes(f"{name}/preload.py")
    else:
        (pod,) = _pods(name, names.SCHEDULER_COMPONENT)
        faults.kill_pod(pod)
    with pytest.raises(CellError) as caught:
        bob.run("total.result(timeout=60)", seconds=70)
    assert "Cancelled" in caught.value.name
    until("the gateway has ended the cluster", lambda: name not in _known(bob), seconds=60)
    until("nothing is left", lambda: not administrator.pieces(name) - {"route"}, seconds=60)


@on_kubernetes
def test_workers_that_are_deleted_or_drained_are_replaced(bob: Notebook) -> None:
    name = bob.run("cluster.name")
    bob.run(START_COMPUTING)
    first, second = _pods(name, names.WORKER_COMPONENT)
    kubectl("delete", "pod", first["name"], "--grace-period=0", "--force")
    selector = of_cluster(name, names.WORKER_COMPONENT)
    try:
        cluster.kubectl("drain", cluster.NODE, "--pod-selector", selector, "--delete-emptydir-data", "--force")
    finally:
        cluster.kubectl("uncordon", cluster.NODE)
    assert bob.run(RESULT) == EXPECTED
    gone = {first["uid"], second["uid"]}
    until("others are there", lambda: len(_uids(name) - gone) == 2 and not gone & _uids(name), seconds=90)


def _uids(name: str) -> set[str]:
    return {pod["uid"] for pod in _pods(name, names.WORKER_COMPONENT)}


@on_kubernetes
def test_requests_at_once_do_not_pass_the_total(bob: Notebook) -> None:
    """Twenty clusters are asked for at the same time where seven fit."""
    total, scheduler = SETTINGS.kubernetes.user_total, SETTINGS.kubernetes.scheduler
    room = 7
    bob.run("cluster.shutdown()")
    # Its pods hold room as long as they are there.
    until("nothing of the other cluster is left", lambda: _cores_of("bob") == 0, seconds=60)
    size = 56
    count = int((total.cores - scheduler.cores - room) // size)
    assert scheduler.cores + room + count * size == total.cores
    large = bob.run(notebooks.new_cluster({**notebooks.SMALL, "worker_cores": size}, "large"))
    bob.run(f"large.scale({count})")
    until("the user holds nearly all", lambda: len(_pods(large, names.WORKER_COMPONENT)) == count, seconds=60)
    bob.run(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def ask(number):\n"
        "    try:\n"
        f"        return 'name', gateways[number].submit(**{notebooks.SMALL!r})\n"
        "    except Exception as error:\n"
        "        return 'error', str(error)\n"
        "gateways = [Gateway() for _ in range(20)]\n"
        "executor = ThreadPoolExecutor(20)\n"
        "asked = [executor.submit(ask, number) for number in range(20)]"
    )
    most = 0.0
    while not bob.run("all(one.done() for one in asked)"):
        most = max(most, _cores_of("bob"))
    assert total.cores - room < max(most, _cores_of("bob")) <= total.cores
    answers = bob.run("[one.result() for one in asked]")
    refused = [text for kind, text in answers if kind == "error"]
    assert all("There is no room for another cluster" in text or "did not start within" in text for text in refused)
    assert len(answers) - len(refused) == room


def _cores_of(person: str) -> float:
    """Cores that the pods of a person hold: those that have ended hold none, though they may still be there."""
    living = "status.phase!=Succeeded,status.phase!=Failed"
    of_person = f"{names.USER_LABEL}={person}"
    listed = json.loads(kubectl("get", "pods", "--selector", of_person, "--field-selector", living, "--output", "json"))
    requests = (
        container["resources"]["requests"]["cpu"] for pod in listed["items"] for container in pod["spec"]["containers"]
    )
    return sum(float(text[:-1]) / 1000 if text.endswith("m") else float(text) for text in requests)


def test_a_cluster_that_is_stopped_while_it_starts_leaves_nothing(bob: Notebook, administrator: Administrator) -> None:
    name = bob.run(f"name = gateway.submit(**{notebooks.SMALL!r})\ngateway.stop_cluster(name)\nname")
    until("nothing is left", lambda: not administrator.pieces(name), seconds=60)


def test_a_wish_for_workers_at_the_end_leaves_nothing(bob: Notebook, administrator: Administrator) -> None:
    name = bob.run("cluster.name")
    bob.run(
        "cluster.scale(6)\ngateway.stop_cluster(cluster.name)\n"
        "try:\n    gateway.scale_cluster(cluster.name, 8)\nexcept Exception as error:\n    pass"
    )
    until("nothing is left", lambda: not administrator.pieces(name), seconds=90)


@on_slurm
def test_a_crash_of_a_compute_node_is_survived(bob: Notebook) -> None:
    on_scheduler = bob.run("client.run_on_scheduler(os.uname).nodename")
    (other,) = (node.name for node in slurm.NODES if node.name != on_scheduler)
    with faults.drained(on_scheduler):
        bob.run("cluster.scale(4)\nclient.wait_for_workers(4, timeout=120)")
    bob.run(START_COMPUTING)
    with faults.killed_machine_of_jobs(other):
        assert bob.run(RESULT) == EXPECTED
        bob.run("client.wait_for_workers(4, timeout=120)", seconds=150)


@on_slurm
def test_jobs_that_nobody_remembers_are_cancelled(bob: Notebook, administrator: SlurmAdministrator) -> None:
    """As after a crash of the gateway between the submission and its note of it."""
    release, unknown = SETTINGS.slurm.release, "f" * 32
    ours, others = jobs.comment(release, unknown), jobs.comment("another-gateway", unknown)

    def submitted(comment: str) -> str:
        options = [f"--job-name={jobs.NAME}", f"--comment={comment}", "--wrap=sleep 600", "--output=/dev/null"]
        command = ["runuser", "-u", "bob", "--", "sbatch", "--parsable", "--chdir=/tmp", *options]
        return docker.execute(submission.CONTAINER, command).strip()

    orphan, stranger = submitted(ours), submitted(others)
    try:
        with faults.killed_unit("dask-gateway"):
            pass
        until("the gateway has cancelled it", lambda: f"job/{orphan}" not in administrator.everything(), seconds=60)
        assert f"job/{stranger}" in administrator.everything()
    finally:
        docker.execute(SLURMCTLD, ["scancel", orphan, stranger])


@pytest.fixture
def full_volume(backend: Backend) -> Iterator[None]:
    """Bob's folder for clusters, as the gateway's service sees it, is on a volume without room."""
    folder = SETTINGS.slurm.staging_directory.format(username="bob")
    process_id = docker.execute(
        submission.CONTAINER, ["systemctl", "show", "--value", "--property=MainPID", "dask-gateway"]
    ).strip()
    inside = ("nsenter", f"--target={process_id}", "--mount")
    uid, gid, _ = directory_identity("bob")
    options = f"size=4k,mode=700,uid={uid},gid={gid}"
    docker.execute(submission.CONTAINER, [*inside, "mount", "-t", "tmpfs", "-o", options, "tmpfs", folder])
    try:
        yield
    finally:
        docker.execute(submission.CONTAINER, [*inside, "umount", folder])


@on_slurm
def test_a_full_volume_is_told(bob: Notebook, full_volume: None, administrator: SlurmAdministrator) -> None:
    before = administrator.everything()
    with pytest.raises(CellError, match="No space left on device"):
        bob.run(notebooks.new_cluster(notebooks.SMALL, "other"))
    assert administrator.everything() == before
    bob.run(START_COMPUTING)
    assert bob.run(RESULT) == EXPECTED
