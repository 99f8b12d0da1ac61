"""Many workers of a user at once on SLURM: 400 in one array, of which 300 run and 100 wait in the queue.

Workers are real jobs, whose processes sleep: three hundred Pythons with Dask have no room on the machine of a testbed.
So they never register with their scheduler; a worker may take its time, and the gateway lets it.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from gateway.site import Backend
from gateway.slurm import jobs
from testbed import docker, slurm
from testbed.waiting import until
from tests.e2e import load, notebooks
from tests.e2e.administration import SETTINGS, SLURMCTLD, Administrator
from tests.e2e.notebooks import Notebook

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.load,
    pytest.mark.timeout(900),
    pytest.mark.parametrize("backend", [Backend.SLURM], indirect=True, scope="session", ids=str),
]

ENVIRONMENT = "/depot/cms/users/alice/light"
LIGHT = f"""\
#!/bin/sh
if [ "$2" = serve ] && [ "$4" = worker ]; then exec sleep 3600; fi
exec {notebooks.PIXI_PROJECT}/.pixi/envs/default/bin/python "$@"
"""
"""An environment's interpreter, in which Dask's workers sleep; see ``main`` of gateway/as_user/preflight.py."""
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
"""What bounds the number of workers that run is the nodes' memory."""
RUNNING = sum(
    (slurm.NODE_MEMORY_MIB - taken) // WORKER_MIB for taken in (round(SETTINGS.slurm.scheduler.memory_gib * 1024), 0)
)
"""On a node with the scheduler, and on one without."""
WAITING = 100
WANTED = RUNNING + WAITING
SHARED = 4
"""Jobs for each core: so many nodes as it takes for 300 cores can't be had here."""
RUN_SECONDS = 180
GONE_SECONDS = 60


@pytest.fixture
def shared_cores(no_leftovers: None) -> Iterator[None]:
    """SLURM gives each core to several jobs, of each partition: jobs that do not share keep others off their node."""
    partitions = {SETTINGS.slurm.worker_jobs.partition, SETTINGS.slurm.scheduler_jobs.partition}

    def share(how: str) -> None:
        for partition in partitions:
            docker.execute(SLURMCTLD, ["scontrol", "update", f"PartitionName={partition}", f"OverSubscribe={how}"])

    share(f"FORCE:{SHARED}")
    try:
        yield
    finally:
        share("NO")


def queued() -> list[tuple[str, str]]:
    """Array and state of each worker's job."""
    partition = SETTINGS.slurm.worker_jobs.partition
    command = ("squeue", "--noheader", "--array", f"--name={jobs.NAME}", f"--partition={partition}", "--format=%F|%T")
    lines = docker.execute(SLURMCTLD, command).splitlines()
    return [(array, state) for array, _, state in (line.partition("|") for line in lines)]


def states() -> Counter[str]:
    return Counter(state for _, state in queued())


def test_workers_beyond_what_the_nodes_hold(
    shared_cores: None, open_notebook: Callable[[str], Notebook], administrator: Administrator
) -> None:
    assert RUNNING >= 300
    before, late = administrator.everything(), load.late_wakes(Backend.SLURM)
    bob, alice = open_notebook("bob"), open_notebook("alice")
    alice.run(MAKE)
    sizes = {"worker_cores": 1, "worker_memory": WORKER_MIB / 1024}
    name = alice.run(notebooks.new_cluster({"conda_env": ENVIRONMENT, **sizes}))
    with notebooks.asked_all_the_time(bob, "gateway.list_clusters()") as asked:
        alice.run(f"cluster.scale({WANTED})")
        until("all are in the queue", lambda: len(queued()) == WANTED, seconds=GONE_SECONDS)
        assert len({array for array, _ in queued()}) == 1
        expected = {"RUNNING": RUNNING, "PENDING": WAITING}
        until("as many run as the nodes hold", lambda: states() == expected, seconds=RUN_SECONDS)
        assert alice.run("[report.status.name for report in gateway.list_clusters()]") == ["RUNNING"]

        # Those that run are the scheduler's to close, and end when their cluster does; what waits is not wanted now.
        alice.run("cluster.shutdown()")
        until("no job is left", lambda: not queued(), seconds=GONE_SECONDS)
        assert asked() > 50
    until("nothing is left", lambda: not administrator.pieces(name), seconds=GONE_SECONDS)
    load.no_orphans(administrator, before)
    assert load.late_wakes(Backend.SLURM) == late
    alice.run("remove()")
