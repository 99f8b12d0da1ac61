"""The collection of what an administrator reads after a failed test.

``conftest`` collects after each failed test, ``test_lifetime`` also before it restores a gateway's own site. There is
one folder per test, ``failures/TEST`` in the testbed's state directory (:data:`FOLDER`). The failed test's report
prints the folder's path.

This module is the one place that says which files a folder has: each is a :class:`Source` here. The folder's own
``README.txt`` is made from them, so that it explains its files without this repository.
"""

import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.site import Backend
from release import process
from testbed import cluster, hub, submission
from testbed.paths import KUBECONFIG, STATE
from tests.e2e.administration import DASK_CLUSTERS, SlurmAdministrator
from tests.e2e.machines import SETTINGS, SLURMCTLD

FOLDER = STATE / "failures"
INDEX = "README.txt"
NOT_COLLECTED = "not-collected.txt"
COMMAND_SECONDS = 30
TITLE = "What administrators saw"


@dataclass(frozen=True)
class Source:
    """A command whose output is a file of the folder."""

    shows: str
    """What a reader finds in the output: one line."""
    command: Sequence[str]


Sources = Mapping[str, Source]
"""By file name, without its suffix ``.txt``."""


def common() -> Sources:
    """Return the sources of what both back ends share."""
    return {
        "containers": Source("the testbed's machines: running or exited", ["docker", "ps", "--all"]),
        "hub": Source("the log of JupyterHub: logins, tokens", ["docker", "logs", "--tail", "200", hub.NAME]),
    }


def kubernetes() -> Sources:
    """Return the sources in Kubernetes. Lists the gateway's pods, of which each has a log."""
    namespaces = (SETTINGS.kubernetes.namespace, SETTINGS.kubernetes.clusters_namespace)
    logs = {
        f"log-{pod.split('/')[-1]}": Source(
            f"the log of {pod}: API server, controller, proxy, scheduler or worker",
            _kubectl(namespace, "logs", "--tail", "500", "--all-containers", pod),
        )
        for namespace in namespaces
        for pod in cluster.kubectl("--namespace", namespace, "get", "pods", "--output", "name").split()
    }
    described = {
        f"pods-described-{namespace}": Source(
            f"the pods in {namespace} with conditions and events", _kubectl(namespace, "describe", "pods")
        )
        for namespace in namespaces
    }
    routes = "ingressroutes.traefik.io,ingressroutetcps.traefik.io,ingress"
    return {
        "pods": Source("all pods with state, restarts and node", _everywhere("get", "pods", "--output", "wide")),
        **described,
        "nodes": Source("nodes with taints, capacity and requests", _everywhere("describe", "nodes")),
        "events": Source(
            "events, the latest last: scheduling, kills, failed mounts, probes",
            _everywhere("get", "events", "--sort-by", ".lastTimestamp"),
        ),
        "clusters": Source(
            "DaskClusters: options, grants, cause and reason of their end",
            _everywhere("get", DASK_CLUSTERS, "--output", "yaml"),
        ),
        "routes": Source("routes of schedulers and dashboards, and the Ingress", _everywhere("get", routes)),
        **logs,
    }


def _kubectl(namespace: str, *arguments: str) -> Sequence[str]:
    return ["kubectl", "--kubeconfig", str(KUBECONFIG), "--namespace", namespace, *arguments]


def _everywhere(*arguments: str) -> Sequence[str]:
    return ["kubectl", "--kubeconfig", str(KUBECONFIG), *arguments, "--all-namespaces"]


def slurm() -> Sources:
    """Return the sources on SLURM's machines and the submission host."""
    units = ("dask-gateway", "dask-gateway.socket", "dask-gateway-proxy", *submission.PROXY_SOCKETS)
    fields = "jobid,user,state,exitcode,start,end,nodelist,workdir%80"
    journal = ("journalctl", "--no-pager", "--lines", "500", *(f"--unit={unit}" for unit in (*units, "sssd")))
    return {
        "squeue": Source(
            "jobs in the queue: number, user, state, reason, node, cluster folder",
            _inside(SLURMCTLD, *SlurmAdministrator.queue),
        ),
        "sinfo": Source("nodes with state and the reason of a drain", _inside(SLURMCTLD, "sinfo", "--Node", "--long")),
        "sacct": Source(
            "jobs of the last hour with exit codes, start and end",
            _inside(SLURMCTLD, "sacct", "--allusers", "-S", "now-1hour", "--format", fields),
        ),
        "slurmctld": Source("the log of slurmctld", ["docker", "logs", "--tail", "300", SLURMCTLD]),
        "journal": Source("the journal of server, proxy and sssd", _inside(submission.CONTAINER, *journal)),
        "units": Source(
            "units of the gateway that have failed",
            _inside(submission.CONTAINER, "systemctl", "--no-pager", "--failed", "status", *units),
        ),
    }


def _inside(container: str, *command: str) -> Sequence[str]:
    return ["docker", "exec", container, *command]


SOURCES = {Backend.KUBERNETES: kubernetes, Backend.SLURM: slurm}


@contextmanager
def collected_before_cleanup(backend: Backend, name: str) -> Iterator[None]:
    """Collect into the folder ``name`` when the block fails, before the test's cleanup removes what explains it."""
    try:
        yield
    except BaseException as error:
        folder = FOLDER / name
        collect(backend, folder)
        error.add_note(f"{TITLE}: {folder}")
        raise


def collect(backend: Backend, folder: Path) -> None:
    """Write the output of a back end's sources into a folder, and the folder's index.

    A command that fails or takes longer than :data:`COMMAND_SECONDS` leaves its error in its file. When the back end
    does not even tell its sources, the file :data:`NOT_COLLECTED` says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sources = dict(common())
    try:
        sources |= SOURCES[backend]()
    except (process.CommandError, OSError, subprocess.TimeoutExpired) as error:
        (folder / NOT_COLLECTED).write_text(str(error))
    write(sources, folder)


def write(sources: Sources, folder: Path) -> None:
    """Run the commands of sources and write their files and the index into a folder."""
    (folder / INDEX).write_text(index(sources))
    for name, source in sources.items():
        with (folder / f"{name}.txt").open("w") as stream:
            stream.write(f"$ {shlex.join(source.command)}\n")
            stream.flush()
            try:
                subprocess.run(
                    source.command, stdout=stream, stderr=subprocess.STDOUT, timeout=COMMAND_SECONDS, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                stream.write(f"{error}\n")


def index(sources: Sources) -> str:
    """Return the index of a folder: each file with what it shows."""
    lines = (f"{name}.txt: {source.shows}" for name, source in sources.items())
    return "\n".join((f"{TITLE} after a failed test. Each file begins with its command.", "", *lines, ""))
