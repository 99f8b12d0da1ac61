"""What administrators see of clusters, and the identity that the directory gives to users.

Most tests use it to show that a cluster has left nothing behind, or that a user's processes have the user's identity.
What an administrator reads after a failed test is in :mod:`tests.e2e.failures`.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from gateway.site import Backend
from testbed import directory, docker, people, storage
from testbed.waiting import until
from tests.e2e.fetching import fetch
from tests.e2e.machines import RELEASE, SETTINGS, SLURMCTLD, kubectl_clusters, of_cluster

DASK_CLUSTERS = "daskclusters.gateway.dask.org"


class Administrator(ABC):
    """The administrator of one back end. Objects are those of Kubernetes, and on SLURM jobs and cluster folders."""

    backend: Backend

    @abstractmethod
    def object_kinds(self, cluster: str) -> set[str]:
        """Return the kinds of objects that a cluster has now, for example ``pod``; empty when nothing is left."""

    @abstractmethod
    def all_objects(self) -> set[str]:
        """Return all objects of all clusters now, by kind and name; compare with a later call to find leftovers."""

    def leftovers(self, before: set[str]) -> set[str]:
        """Return objects that are new since ``before``, without the records of clusters that have ended."""
        return {name for name in self.all_objects() - before if not name.startswith("daskcluster.")}

    def await_end(self, cluster: str, *, seconds: float) -> None:
        """Wait until nothing is left of a cluster."""
        until(f"nothing is left of {cluster}", lambda: not self.object_kinds(cluster), seconds=seconds)

    def await_no_leftovers(self, before: set[str], *, seconds: float) -> None:
        """Wait until no object is new since ``before``; fails with the names of those that are."""
        with contextlib.suppress(TimeoutError):
            until("nothing is left", lambda: not self.leftovers(before), seconds=seconds)
        assert self.leftovers(before) == set()

    def route(self, cluster: str) -> set[str]:
        """Return ``{"route"}`` while the public address is routed to the cluster's scheduler, else an empty set."""
        status, _ = fetch(f"{SETTINGS.gateway(self.backend).address}/clusters/{cluster}/status")
        return {"route"} if status != 404 else set()


class KubernetesAdministrator(Administrator):
    """An administrator with the kubeconfig of the testbed's Kubernetes."""

    backend = Backend.KUBERNETES
    kinds = (
        "pods",
        "secrets",
        "services",
        "endpointslices.discovery.k8s.io",
        "ingressroutes.traefik.io",
        "ingressroutetcps.traefik.io",
        "networkpolicies.networking.k8s.io",
    )

    def object_kinds(self, cluster: str) -> set[str]:
        """Return kinds in the singular, without their API group, and ``route``."""
        selected = ("--selector", of_cluster(cluster), "--output", "name")
        found = kubectl_clusters("get", ",".join(self.kinds), *selected).split()
        return {name.split("/")[0].split(".")[0] for name in found} | self.route(cluster)

    def all_objects(self) -> set[str]:
        """Return ``KIND/NAME`` of all objects of users' clusters, DaskClusters and ConfigMaps included."""
        kinds = ",".join((*self.kinds, DASK_CLUSTERS, "configmaps"))
        selector = f"app.kubernetes.io/instance={RELEASE}"
        return set(kubectl_clusters("get", kinds, "--selector", selector, "--output", "name").split())


class SlurmAdministrator(Administrator):
    """An administrator who is root on SLURM's machines."""

    backend = Backend.SLURM
    queue = ("squeue", "--noheader", "--all", "--format", "%i %u %T %r %N %Z")
    """%Z is the working directory of a job: the folder of its cluster."""

    def object_kinds(self, cluster: str) -> set[str]:
        """Return ``job``, ``folder`` and ``route``, as far as the cluster has them."""
        jobs = docker.execute(SLURMCTLD, self.queue)
        found = {"job"} if any(cluster in line for line in jobs.splitlines()) else set()
        return found | ({"folder"} if list(self._folders(cluster)) else set()) | self.route(cluster)

    def all_objects(self) -> set[str]:
        """Return ``job/NUMBER`` of all jobs in the queue, and the paths of all cluster folders."""
        queued = docker.execute(SLURMCTLD, ("squeue", "--noheader", "--all", "--format", "job/%i")).split()
        return {*queued, *map(str, self._folders("*"))}

    def folder(self, person: str, cluster: str) -> Path:
        """Return the path of a cluster's folder on this machine."""
        (found,) = (path for path in self._folders(cluster) if f"/{person}/" in str(path))
        return found

    def _folders(self, cluster: str) -> Iterator[Path]:
        """Find cluster folders; the folder ``logs`` beside them outlives clusters."""
        template = SETTINGS.slurm.staging_directory
        volume = next(volume for volume in SETTINGS.storage if template.startswith(f"{volume.path}/"))
        place = template.removeprefix(f"{volume.path}/").format(username="*")
        found = storage.volume_directory(volume).glob(f"{place}/{cluster}")
        return (path for path in found if path.name != "logs")


ADMINISTRATORS: dict[Backend, Administrator] = {
    each.backend: each for each in (KubernetesAdministrator(), SlurmAdministrator())
}


def account_name(person: str) -> str:
    """Return the name of the account that a person works with."""
    account = next(entry.account for entry in people.load().people if entry.name == person)
    assert account is not None
    return account


def directory_identity(account: str) -> tuple[int, int, set[int]]:
    """Return uid, gid and all gids of an account, as LDAP answers."""
    base = SETTINGS.identity.directory

    def numbers(where: str, condition: str, attribute: str) -> list[int]:
        command = ["ldapsearch", *directory.LOCAL, "-LLL", "-b", where, condition, attribute]
        entries = directory.parsed(docker.execute(directory.CONTAINER, command)).values()
        return [int(value) for entry in entries for value in entry[attribute]]

    (uid,) = numbers(base.people_base, f"(uid={account})", "uidNumber")
    (gid,) = numbers(base.people_base, f"(uid={account})", "gidNumber")
    return uid, gid, {gid, *numbers(base.groups_base, f"(memberUid={account})", "gidNumber")}


def identity_of(person: str) -> tuple[int, int, set[int]]:
    """Return uid, gid and all gids of a person's account, as LDAP answers."""
    return directory_identity(account_name(person))
