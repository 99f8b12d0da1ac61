"""Many workers of one user on SLURM: 400 tasks in one job array, of which 300 run and 100 wait in the queue.

Workers are real jobs whose processes sleep, because the testbed's machine has no memory for 300 interpreters with Dask.
So the workers never register with their scheduler. The gateway accepts that, as workers have no start timeout.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from gateway.site import Backend
from gateway.slurm import jobs
from testbed import docker, slurm
from testbed.waiting import until
from tests.e2e import load, notebooks
from tests.e2e.administration import Administrator
from tests.e2e.back_ends import on_slurm
from tests.e2e.machines import SETTINGS, SLURMCTLD
from tests.e2e.notebooks import Notebook

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.load,
    pytest.mark.timeout(900),
    on_slurm,
]

ENVIRONMENT = "/depot/cms/users/alice/light"
LIGHT = f"""\
#!/bin/sh
if [ "$2" = serve ] && [ "$4" = worker ]; then exec sleep 3600; fi
exec {notebooks.PIXI_PROJECT}/.pixi/envs/default/bin/python "$@"
"""
"""An environment's interpreter whose workers sleep; its arguments are those of ``main`` in
gateway/as_user/preflight.py."""
MAKE = f"""
import os, shutil
def remove():
    shutil.rmtree({ENVIRONMENT!r}, ignore_errors=True)
remove()
os.makedirs({ENVIRONMENT + "/bin"!r})
with open({ENVIRONMENT + "/bin/python"!r}, "w") as stream:
    stream.write({LIGHT!r})
os.chmod({ENVIRONMENT + "/bin/python"!r}, 0o755)
"""
WORKER_MIB = 1724
"""So large that the nodes' memory bounds how many workers run."""
RUNNING = sum(
    (slurm.NODE_MEMORY_MIB - taken) // WORKER_MIB for taken in (round(SETTINGS.slurm.scheduler.memory_gib * 1024), 0)
)
"""The sum over a node with the scheduler and a node without."""
WAITING = 100
WANTED = RUNNING + WAITING
JOBS_PER_CORE = 4
"""Jobs per core: the testbed's nodes have fewer than 300 cores."""
RUN_SECONDS = 180
GONE_SECONDS = 60


@pytest.fixture
def shared_cores(no_leftovers: None) -> Iterator[None]:
    """Have SLURM give each core to several jobs.

    In each partition, because jobs that do not share exclude others from their node.
    """
    partitions = {SETTINGS.slurm.worker_jobs.partition, SETTINGS.slurm.scheduler_jobs.partition}

    def oversubscribe(value: str) -> None:
        for partition in partitions:
            docker.execute(SLURMCTLD, ["scontrol", "update", f"PartitionName={partition}", f"OverSubscribe={value}"])

    oversubscribe(f"FORCE:{JOBS_PER_CORE}")
    try:
        yield
    finally:
        oversubscribe("NO")


def queued() -> list[tuple[str, str]]:
    """Return job array and state of each worker's task in the queue."""
    partition = SETTINGS.slurm.worker_jobs.partition
    command = ("squeue", "--noheader", "--array", f"--name={jobs.NAME}", f"--partition={partition}", "--format=%F|%T")
    lines = docker.execute(SLURMCTLD, command).splitlines()
    return [(array, state) for array, _, state in (line.partition("|") for line in lines)]


def states() -> Counter[str]:
    return Counter(state for _, state in queued())


def test_workers_beyond_the_nodes_memory_wait_in_the_queue(
    shared_cores: None, open_notebook: Callable[[str], Notebook], administrator: Administrator
) -> None:
    assert RUNNING >= 300
    before, late = administrator.all_objects(), load.late_wakeups(Backend.SLURM)
    bob, alice = open_notebook("bob"), open_notebook("alice")
    alice.run(MAKE)
    sizes = {"worker_cores": 1, "worker_memory": WORKER_MIB / 1024}
    name = alice.run(notebooks.new_cluster({"conda_env": ENVIRONMENT, **sizes}))
    with notebooks.repeating(bob, "gateway.list_clusters()") as repetitions:
        alice.run(f"cluster.scale({WANTED})")
        until("all are in the queue", lambda: len(queued()) == WANTED, seconds=GONE_SECONDS)
        assert len({array for array, _ in queued()}) == 1
        expected = {"RUNNING": RUNNING, "PENDING": WAITING}
        until("as many run as the nodes hold", lambda: states() == expected, seconds=RUN_SECONDS)
        assert alice.run("[report.status.name for report in gateway.list_clusters()]") == ["RUNNING"]

        # Running workers end with their cluster; the tasks that wait in the queue are cancelled.
        alice.run("cluster.shutdown()")
        until("no job is left", lambda: not queued(), seconds=GONE_SECONDS)
        assert repetitions() > 50
    administrator.await_end(name, seconds=GONE_SECONDS)
    administrator.await_no_leftovers(before, seconds=load.GONE_SECONDS)
    assert load.late_wakeups(Backend.SLURM) == late
    alice.run("remove()")
