"""What administrators see of clusters: used to tell that nothing is left, and why something failed."""

import json
import shlex
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway import site
from gateway.kubernetes import names
from gateway.site import Backend
from release import process
from testbed import cluster, directory, docker, notebook, people, slurm, storage
from testbed.paths import KUBECONFIG, SITE, STATE

SETTINGS = site.load(SITE)
SLURMCTLD = f"af-{slurm.CONTROLLER}"


def kubectl(*arguments: str) -> str:
    """What kubectl prints, in the namespace of the gateway."""
    return cluster.kubectl("--namespace", SETTINGS.kubernetes.namespace, *arguments)


def of_cluster(name: str, component: str | None = None) -> str:
    """A selector of a cluster's objects, or of its pods of a component."""
    selector = f"gateway.dask.org/cluster={name.rpartition('.')[2]}"
    return selector if component is None else f"{selector},{names.COMPONENT_LABEL}={component}"


class Administrator(ABC):
    """One back end's administrator."""

    backend: Backend

    @abstractmethod
    def pieces(self, cluster: str) -> set[str]:
        """Kinds of things that exist for a cluster now, for example ``pod``; empty when nothing is left."""

    @abstractmethod
    def everything(self) -> set[str]:
        """All that exists of all clusters now, by kind and name: two looks tell whether anything was left behind."""

    @abstractmethod
    def diagnoses(self) -> dict[str, list[str]]:
        """File name -> command whose output belongs there when a test failed."""

    def route(self, cluster: str) -> set[str]:
        """``{"route"}`` while the public address leads to the cluster's scheduler."""
        status, _ = fetch(f"{SETTINGS.gateway(self.backend).address}/clusters/{cluster}/status")
        return {"route"} if status != 404 else set()


class KubernetesAdministrator(Administrator):
    """Who has the kubeconfig of the cluster."""

    backend = Backend.KUBERNETES
    kinds = (
        "pods",
        "secrets",
        "services",
        "endpointslices.discovery.k8s.io",
        "ingressroutes.traefik.io",
        "ingressroutetcps.traefik.io",
    )

    def pieces(self, cluster: str) -> set[str]:
        found = kubectl("get", ",".join(self.kinds), "--selector", of_cluster(cluster), "--output", "name").split()
        return {name.split("/")[0].split(".")[0] for name in found} | self.route(cluster)

    def everything(self) -> set[str]:
        release = SETTINGS.kubernetes.release
        kinds = ",".join((*self.kinds, "daskclusters.gateway.dask.org", "configmaps"))
        selector = f"app.kubernetes.io/instance={release}"
        return set(kubectl("get", kinds, "--selector", selector, "--output", "name").split())

    def diagnoses(self) -> dict[str, list[str]]:
        commands = {
            "pods": "get pods --all-namespaces --output wide",
            "pods-described": "describe pods",
            "nodes": "describe nodes",
            "events": "get events --all-namespaces --sort-by .lastTimestamp",
            "clusters": "get daskclusters --output yaml",
            "routes": "get ingressroutes.traefik.io,ingressroutetcps.traefik.io,ingress --all-namespaces",
        }
        return {name: self._command(*shlex.split(command)) for name, command in commands.items()} | dict(self._logs())

    def _logs(self) -> Iterator[tuple[str, list[str]]]:
        for pod in kubectl("get", "pods", "--output", "name").split():
            yield f"log-{pod.split('/')[-1]}", self._command("logs", "--tail", "500", "--all-containers", pod)

    @staticmethod
    def _command(*arguments: str) -> list[str]:
        where = () if "--all-namespaces" in arguments else ("--namespace", SETTINGS.kubernetes.namespace)
        return ["kubectl", "--kubeconfig", str(KUBECONFIG), *where, *arguments]


class SlurmAdministrator(Administrator):
    """Who is root on SLURM's machines."""

    backend = Backend.SLURM
    jobs = ("squeue", "--noheader", "--all", "--format", "%i %u %T %r %N %Z")
    """%Z is the directory of a job: the staging folder of its cluster."""

    def pieces(self, cluster: str) -> set[str]:
        jobs = docker.execute(SLURMCTLD, self.jobs)
        found = {"job"} if any(cluster in line for line in jobs.splitlines()) else set()
        return found | ({"folder"} if list(self._folders(cluster)) else set()) | self.route(cluster)

    def everything(self) -> set[str]:
        queued = docker.execute(SLURMCTLD, ("squeue", "--noheader", "--all", "--format", "job/%i")).split()
        return {*queued, *map(str, self._folders("*"))}

    def folder(self, person: str, cluster: str) -> Path:
        """A cluster's folder, as the machine sees it."""
        (found,) = (path for path in self._folders(cluster) if f"/{person}/" in str(path))
        return found

    def _folders(self, cluster: str) -> Iterator[Path]:
        """Folders of running clusters; logs stay."""
        template = SETTINGS.slurm.staging_directory
        volume = next(volume for volume in SETTINGS.storage if template.startswith(f"{volume.path}/"))
        place = template.removeprefix(f"{volume.path}/").format(username="*")
        found = storage.volume_directory(volume).glob(f"{place}/{cluster}")
        return (path for path in found if path.name != "logs")

    def diagnoses(self) -> dict[str, list[str]]:
        on_controller = {
            "squeue": shlex.join(self.jobs),
            "sinfo": "sinfo --Node --long",
            "sacct": "sacct --allusers -S now-1hour --format jobid,user,state,exitcode,start,end,nodelist,workdir%80",
        }
        journal = "journalctl --no-pager --lines 500 --unit dask-gateway --unit dask-gateway-proxy --unit sssd"
        return {
            **{name: _inside(SLURMCTLD, command) for name, command in on_controller.items()},
            "journal": _inside("af-submission", journal),
            "units": _inside("af-submission", "systemctl --no-pager --failed status dask-gateway dask-gateway-proxy"),
            "slurmctld": ["docker", "logs", "--tail", "300", SLURMCTLD],
        }


def _inside(container: str, command: str) -> list[str]:
    return ["docker", "exec", container, *shlex.split(command)]


ADMINISTRATORS: dict[Backend, type[Administrator]] = {
    kind.backend: kind for kind in (KubernetesAdministrator, SlurmAdministrator)
}


FAILURES = STATE / "failures"
"""One folder per failed test, with what the administrators would look at."""


@contextmanager
def collected_at_once(administrator: Administrator, name: str) -> Iterator[None]:
    """Where a test's end takes away what tells why it failed: collect before, into a folder of that name."""
    try:
        yield
    except BaseException as error:
        folder = FAILURES / name
        collect(administrator, folder)
        error.add_note(f"What administrators saw: {folder}")
        raise


def collect(administrator: Administrator, folder: Path) -> None:
    """Write what tells why a test failed into a folder; what can't be told is said there too."""
    folder.mkdir(parents=True, exist_ok=True)
    machines = {"containers": ["docker", "ps", "--all"], "hub": ["docker", "logs", "--tail", "200", "af-hub"]}
    try:
        commands = machines | administrator.diagnoses()
    except (process.CommandError, OSError, subprocess.TimeoutExpired) as error:
        (folder / "not-collected.txt").write_text(str(error))
        commands = machines
    for name, command in commands.items():
        with (folder / f"{name}.txt").open("w") as stream:
            stream.write(f"$ {shlex.join(command)}\n")
            stream.flush()
            try:
                subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, timeout=30, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                stream.write(f"{error}\n")


FETCH = (
    "import json, sys, urllib.error, urllib.request\n"
    "address, headers = json.load(sys.stdin)\n"
    "try:\n"
    "    answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=15)\n"
    "except urllib.error.HTTPError as error:\n"
    "    answer = error\n"
    "print(json.dumps([answer.status, answer.read().decode(errors='replace')]))\n"
)
"""A program that is told on standard input, where nobody else sees a token, what to ask for."""


def fetch(address: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and text that an address answers from the notebook container's place in the network."""
    question = json.dumps([address, headers or {}])
    status, body = json.loads(docker.execute(notebook.NAME, ["python3", "-c", FETCH], standard_input=question))
    return status, body


def fetch_in_pod(pod: str, address: str, headers: dict[str, str]) -> tuple[int, str]:
    """The same from inside a pod of the gateway."""
    command = ("--namespace", SETTINGS.kubernetes.namespace, "exec", "--stdin", pod, "--", "python", "-c", FETCH)
    status, body = json.loads(cluster.kubectl(*command, standard_input=json.dumps([address, headers])))
    return status, body


def account_name(person: str) -> str:
    """The name of the account that a person works with."""
    account = next(entry.account for entry in people.load().people if entry.name == person)
    assert account is not None
    return account


def directory_identity(account: str) -> tuple[int, int, set[int]]:
    """Uid, gid and all gids of an account, as LDAP answers."""
    base = SETTINGS.identity.directory

    def numbers(where: str, condition: str, attribute: str) -> list[int]:
        command = ["ldapsearch", *directory.LOCAL, "-LLL", "-b", where, condition, attribute]
        entries = directory.parsed(docker.execute(directory.CONTAINER, command)).values()
        return [int(value) for entry in entries for value in entry[attribute]]

    (uid,) = numbers(base.people_base, f"(uid={account})", "uidNumber")
    (gid,) = numbers(base.people_base, f"(uid={account})", "gidNumber")
    return uid, gid, {gid, *numbers(base.groups_base, f"(memberUid={account})", "gidNumber")}
