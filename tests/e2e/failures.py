"""The collection of what an administrator reads after a failed test.

``conftest`` collects after each failed test, ``test_lifetime`` also before it restores a gateway's own site. There is
one folder per test, ``failures/TEST`` in the testbed's state directory (:data:`FOLDER`). The failed test's report
prints the folder's path. Each file begins with the command that it shows.
"""

import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway.site import Backend
from testbed import hub, process, submission
from testbed.paths import KUBECONFIG, STATE
from tests.e2e.administration import DASK_CLUSTERS, SlurmAdministrator
from tests.e2e.machines import SETTINGS, SLURMCTLD, kubectl

FOLDER = STATE / "failures"
COMMAND_SECONDS = 30
TITLE = "What administrators saw"

Commands = dict[str, Sequence[str]]
"""File name without suffix -> the command whose output belongs there."""


def common() -> Commands:
    """Return the commands for what both back ends share."""
    return {"containers": ["docker", "ps", "--all"], "hub": ["docker", "logs", "--tail", "200", hub.NAME]}


def kubernetes() -> Commands:
    """Return the commands for Kubernetes; asks it which pods have logs."""
    commands = {
        "pods": "get pods --all-namespaces --output wide",
        "pods-described": "describe pods",
        "nodes": "describe nodes",
        "events": "get events --all-namespaces --sort-by .lastTimestamp",
        "clusters": f"get {DASK_CLUSTERS} --output yaml",
        "routes": "get ingressroutes.traefik.io,ingressroutetcps.traefik.io,ingress --all-namespaces",
    }
    logs = {
        f"log-{pod.split('/')[-1]}": f"logs --tail 500 --all-containers {pod}"
        for pod in kubectl("get", "pods", "--output", "name").split()
    }
    return {name: _kubectl(*shlex.split(command)) for name, command in (commands | logs).items()}


def _kubectl(*arguments: str) -> Sequence[str]:
    where = () if "--all-namespaces" in arguments else ("--namespace", SETTINGS.kubernetes.namespace)
    return ["kubectl", "--kubeconfig", str(KUBECONFIG), *where, *arguments]


def slurm() -> Commands:
    """Return the commands for SLURM and the submission host."""
    return {
        "squeue": _inside(SLURMCTLD, shlex.join(SlurmAdministrator.queue)),
        "sinfo": _inside(SLURMCTLD, "sinfo --Node --long"),
        "sacct": _inside(
            SLURMCTLD,
            "sacct --allusers -S now-1hour --format jobid,user,state,exitcode,start,end,nodelist,workdir%80",
        ),
        "slurmctld": ["docker", "logs", "--tail", "300", SLURMCTLD],
        "journal": _inside(
            submission.CONTAINER,
            "journalctl --no-pager --lines 500 --unit dask-gateway --unit dask-gateway-proxy --unit sssd",
        ),
        "units": _inside(submission.CONTAINER, "systemctl --no-pager --failed status dask-gateway dask-gateway-proxy"),
    }


def _inside(container: str, command: str) -> Sequence[str]:
    return ["docker", "exec", container, *shlex.split(command)]


COMMANDS = {Backend.KUBERNETES: kubernetes, Backend.SLURM: slurm}


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
    """Write the output of a back end's commands into a folder.

    A command that fails or takes longer than :data:`COMMAND_SECONDS` leaves its error in its file. The file
    ``not-collected.txt`` says why all files of the back end are missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    commands = common()
    try:
        commands |= COMMANDS[backend]()
    except (process.CommandError, OSError, subprocess.TimeoutExpired) as error:
        (folder / "not-collected.txt").write_text(str(error))
    _write(commands, folder)


def _write(commands: Mapping[str, Sequence[str]], folder: Path) -> None:
    for name, command in commands.items():
        with (folder / f"{name}.txt").open("w") as stream:
            stream.write(f"$ {shlex.join(command)}\n")
            stream.flush()
            try:
                subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, timeout=COMMAND_SECONDS, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                stream.write(f"{error}\n")
