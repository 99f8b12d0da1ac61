"""Users, requests and clusters of the tests of the SLURM gateway, and stand-ins for SLURM's commands."""

from dask_gateway_server.backends.db_base import Cluster, JobStatus

from gateway.identity.accounts import Account
from gateway.request.environments import Environment
from gateway.request.options import ClusterRequest
from gateway.site import GIB
from gateway.slurm.cluster_configuration import FacilitySlurmClusterConfig
from gateway.slurm.configuration import cluster_config

CANARY = "f3b1c0ffee"
TOKEN = "alices-hub-token"
STAGING = "/depot/cms/users/alice/.dask-gateway"
PYTHON = "/depot/cms/users/alice/.pixi/envs/default/bin/python"
ALICE = ClusterRequest(
    username="alice",
    user_class="purdue",
    account=Account("alice", 20001, 20000, (21001,)),
    environment=Environment("pixi_project", "/depot/cms/users/alice", "default"),
    variables={"PATH": "/bin", "MINE": CANARY},
    worker_cores=2.0,
    worker_memory_bytes=4 * GIB,
)
OPTIONS = {"conda_env": "/depot/cms/users/alice/c", "env": {"MINE": CANARY}}
SECOND, HOUR, DAY = 1000, 3600 * 1000, 86400 * 1000
"""In milliseconds, as upstream counts time."""


class Queue:
    """Takes clusters and workers; a cluster that is to fail ends at once."""

    def __init__(self):
        self.clusters, self.later = [], []

    def put_after(self, cluster, seconds):
        self.later.append(cluster)

    def put(self, cluster):
        self.clusters.append(cluster)
        if isinstance(cluster, Cluster) and cluster.target == JobStatus.FAILED:
            cluster.shutdown.set()


class Proxy:
    """Has no routes."""

    async def remove_route(self, **_):
        pass


def cluster_in(running, site, request=ALICE, configuration=(), **values):
    """A cluster in the database, with changes of its configuration and of its record."""
    config = FacilitySlurmClusterConfig(**{**cluster_config(site, request), **dict(configuration)})
    cluster = running.db.create_cluster(request.username, {}, config.to_dict())
    if values:
        running.db.update_cluster(cluster, **values)
    return cluster


def listed(number, state, uid=20001):
    """A line of squeue."""
    return f"{number}|{state}|{uid}\n"


def owned(cluster, release, username="alice", uid=20001):
    """What squeue prints of the owner of one job."""
    folder = STAGING.replace("alice", username)
    return f"{uid}|20000|{username}|{release}|{folder}/{cluster}\n"


def squeue(backend, tmp_path, text, code=0, of_one=()):
    """A squeue that prints this text and records its arguments.

    Asked for one job, it prints the text that ``of_one`` has for the job's id, or fails.
    """
    program = tmp_path / "squeue"
    (tmp_path / "answer").write_text(text)
    for number, answer in dict(of_one).items():
        (tmp_path / f"answer-{number}").write_text(answer)
    stream = 1 if code == 0 else 2
    program.write_text(f"""#!/bin/sh
echo "$@" >>{tmp_path}/asked
case "$2" in
--jobs=*) exec cat {tmp_path}/answer-"${{2#--jobs=}}" ;;
esac
cat {tmp_path}/answer >&{stream}
exit {code}
""")
    program.chmod(0o755)
    backend.status_command = str(program)
    return lambda: (tmp_path / "asked").read_text().splitlines()
