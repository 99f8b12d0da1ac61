"""Parts die while a computation with a known result runs: the result is right, and nothing is left behind."""

import json
from collections.abc import Callable, Iterator

import pytest

from gateway.kubernetes import names
from gateway.site import Backend
from gateway.slurm import cluster_folder, jobs
from testbed import cluster, docker, slurm, submission
from testbed.waiting import until
from tests.e2e import faults, fetching, notebooks
from tests.e2e.administration import Administrator, SlurmAdministrator, directory_identity
from tests.e2e.back_ends import on_kubernetes, on_slurm
from tests.e2e.machines import SETTINGS, SLURMCTLD, kubectl_clusters, of_cluster
from tests.e2e.notebooks import CellError, Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

OpenNotebook = Callable[[str], Notebook]
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
    """Run a test with every fault of a table."""
    cases = [
        pytest.param(backend, fault, id=f"{backend}-{name}")
        for backend, by_name in table.items()
        for name, fault in by_name.items()
    ]
    return pytest.mark.parametrize(("backend", "fault"), cases, indirect=["backend"], scope="session")


@pytest.fixture
def bob(backend: Backend, administrator: Administrator, open_notebook: OpenNotebook) -> Iterator[Notebook]:
    """Return a notebook with a cluster of two workers; afterwards stop the cluster and check that nothing is left."""
    _await_gateway(backend)
    before = administrator.all_objects()
    kernel = open_notebook("bob")
    notebooks.start_cluster(kernel, workers=2)
    yield kernel
    _await_gateway(backend)
    kernel.run("client.close()\nfor report in gateway.list_clusters():\n    gateway.stop_cluster(report.name)")
    administrator.await_no_leftovers(before, seconds=90)


def _await_gateway(backend: Backend) -> None:
    until("the gateway answers", lambda: fetching.answers(backend), seconds=faults.BACK_SECONDS)


@each(faults.UNNOTICED)
def test_a_computation_does_not_notice_the_fault(bob: Notebook, fault: faults.Fault) -> None:
    before = bob.run(WORKERS)
    bob.run(START_COMPUTING)
    with fault():
        assert bob.run(RESULT) == EXPECTED
    assert bob.run(WORKERS) == before
    name = bob.run("cluster.name")
    until("the gateway lists the cluster", lambda: name in _listed(bob), seconds=60)
    bob.run("cluster.scale(3)\nclient.wait_for_workers(3, timeout=120)")


def _listed(kernel: Notebook) -> list[str]:
    try:
        return list(kernel.run("[report.name for report in gateway.list_clusters()]"))
    except CellError:
        return []


@each(faults.DISCONNECTING)
def test_a_client_connects_again_to_its_workers(bob: Notebook, backend: Backend, fault: faults.Fault) -> None:
    before = bob.run(WORKERS)
    with fault():
        _await_gateway(backend)
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
    # On Kubernetes the kubelet restarts the same pod, whose worker then has another address.
    until("two workers run again", lambda: len(set(dict(bob.run(ADDRESSES))) - {address}) == 2, seconds=90)
    assert address not in dict(bob.run(ADDRESSES))


def test_a_killed_scheduler_cancels_the_computation_and_ends_the_cluster(
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
    until("the gateway has ended the cluster", lambda: name not in _listed(bob), seconds=60)
    until("nothing is left", lambda: not administrator.object_kinds(name) - {"route"}, seconds=60)


@on_kubernetes
def test_workers_that_are_deleted_or_drained_are_replaced(bob: Notebook) -> None:
    name = bob.run("cluster.name")
    bob.run(START_COMPUTING)
    first, second = _pods(name, names.WORKER_COMPONENT)
    kubectl_clusters("delete", "pod", first["name"], "--grace-period=0", "--force")
    selector = of_cluster(name, names.WORKER_COMPONENT)
    try:
        cluster.kubectl("drain", cluster.NODE, "--pod-selector", selector, "--delete-emptydir-data", "--force")
    finally:
        cluster.kubectl("uncordon", cluster.NODE)
    assert bob.run(RESULT) == EXPECTED
    gone = {first["uid"], second["uid"]}
    until("two others run", lambda: len(_uids(name) - gone) == 2 and not gone & _uids(name), seconds=90)


def _uids(name: str) -> set[str]:
    return {pod["uid"] for pod in _pods(name, names.WORKER_COMPONENT)}


@on_kubernetes
def test_simultaneous_requests_do_not_exceed_the_total(bob: Notebook) -> None:
    """A user requests twenty clusters at the same time, of which seven fit into the user's total."""
    total, scheduler = SETTINGS.kubernetes.user_total, SETTINGS.kubernetes.scheduler
    room = 7
    bob.run("cluster.shutdown()")
    # The pods of the fixture's cluster count until they have ended.
    until("bob's pods hold nothing", lambda: _cores_of("bob") == 0, seconds=60)
    size = 56
    count = int((total.cores - scheduler.cores - room) // size)
    assert scheduler.cores + room + count * size == total.cores
    large = bob.run(notebooks.new_cluster({**notebooks.SMALL, "worker_cores": size}, "large"))
    bob.run(f"large.scale({count})")
    until("bob holds all but the room", lambda: len(_pods(large, names.WORKER_COMPONENT)) == count, seconds=60)
    bob.run(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def submit(number):\n"
        "    try:\n"
        f"        return 'name', gateways[number].submit(**{notebooks.SMALL!r})\n"
        "    except Exception as error:\n"
        "        return 'error', str(error)\n"
        "gateways = [Gateway() for _ in range(20)]\n"
        "executor = ThreadPoolExecutor(20)\n"
        "submitted = [executor.submit(submit, number) for number in range(20)]"
    )
    most = 0.0
    while not bob.run("all(each.done() for each in submitted)"):
        most = max(most, _cores_of("bob"))
    assert total.cores - room < max(most, _cores_of("bob")) <= total.cores
    answers = bob.run("[each.result() for each in submitted]")
    refused = [text for kind, text in answers if kind == "error"]
    assert all("There is no room for another cluster" in text or "did not start within" in text for text in refused)
    assert len(answers) - len(refused) == room


def _cores_of(person: str) -> float:
    """Return the cores that the pods of a person hold; pods that have ended hold none."""
    living = "status.phase!=Succeeded,status.phase!=Failed"
    of_person = f"{names.USER_LABEL}={person}"
    selected = ("--selector", of_person, "--field-selector", living)
    listed = json.loads(kubectl_clusters("get", "pods", *selected, "--output", "json"))
    requests = (
        container["resources"]["requests"]["cpu"] for pod in listed["items"] for container in pod["spec"]["containers"]
    )
    return sum(float(text[:-1]) / 1000 if text.endswith("m") else float(text) for text in requests)


def test_a_cluster_that_is_stopped_while_it_starts_leaves_nothing(bob: Notebook, administrator: Administrator) -> None:
    name = bob.run(f"name = gateway.submit(**{notebooks.SMALL!r})\ngateway.stop_cluster(name)\nname")
    administrator.await_end(name, seconds=60)


def test_scaling_a_cluster_that_ends_leaves_nothing(bob: Notebook, administrator: Administrator) -> None:
    name = bob.run("cluster.name")
    bob.run(
        "cluster.scale(6)\ngateway.stop_cluster(cluster.name)\n"
        "try:\n    gateway.scale_cluster(cluster.name, 8)\nexcept Exception as error:\n    pass"
    )
    administrator.await_end(name, seconds=90)


@on_slurm
def test_a_cluster_survives_the_crash_of_a_compute_node(bob: Notebook) -> None:
    on_scheduler = bob.run("client.run_on_scheduler(os.uname).nodename")
    (other,) = (node.name for node in slurm.NODES if node.name != on_scheduler)
    with faults.drained(on_scheduler):
        bob.run("cluster.scale(4)\nclient.wait_for_workers(4, timeout=120)")
    bob.run(START_COMPUTING)
    with faults.killed_machine_of_jobs(other):
        assert bob.run(RESULT) == EXPECTED
        bob.run("client.wait_for_workers(4, timeout=120)", seconds=150)


@on_slurm
def test_orphans_are_cancelled(bob: Notebook, administrator: SlurmAdministrator) -> None:
    """A crash of the gateway between the submission of a job and the record of it leaves an orphan."""
    staging = cluster_folder.staging_directory(SETTINGS.slurm.staging_directory, "bob")
    folder = cluster_folder.folder(staging, "f" * 32)

    def submitted(release: str) -> str:
        options = [f"--job-name={jobs.NAME}", f"--comment={release}", "--wrap=sleep 600", "--output=/dev/null"]
        command = ["runuser", "-u", "bob", "--", "sbatch", "--parsable", f"--chdir={folder}", *options]
        return docker.execute(submission.CONTAINER, command).strip()

    orphan, other_gateways = submitted(SETTINGS.slurm.release), submitted("another-gateway")
    try:
        with faults.killed_unit("dask-gateway"):
            pass
        until("the gateway has cancelled it", lambda: f"job/{orphan}" not in administrator.all_objects(), seconds=60)
        assert f"job/{other_gateways}" in administrator.all_objects()
    finally:
        docker.execute(SLURMCTLD, ["scancel", orphan, other_gateways])


@pytest.fixture
def full_volume(backend: Backend) -> Iterator[None]:
    """Put a full volume in place of bob's staging directory, as the submission host's new processes see it."""
    folder = SETTINGS.slurm.staging_directory.format(username="bob")
    uid, gid, _ = directory_identity("bob")
    options = f"size=4k,mode=700,uid={uid},gid={gid}"
    docker.execute(submission.CONTAINER, ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder])
    try:
        yield
    finally:
        docker.execute(submission.CONTAINER, ["umount", folder])


@on_slurm
def test_a_full_volume_is_reported_to_the_user(
    bob: Notebook, full_volume: None, administrator: SlurmAdministrator
) -> None:
    before = administrator.all_objects()
    with pytest.raises(CellError, match="No space left on device"):
        bob.run(notebooks.new_cluster(notebooks.SMALL, "other"))
    assert administrator.all_objects() == before
    bob.run(START_COMPUTING)
    assert bob.run(RESULT) == EXPECTED
