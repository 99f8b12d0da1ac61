"""The SLURM cluster: accounting with its database, controller, and compute nodes, each a container."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2

from gateway.request import storage as storage_table
from gateway.site import Backend, Site, load
from release import content, process
from release.paths import ROOT
from testbed import docker, people, secret_files, storage, waiting
from testbed.certificates import certificate_authority
from testbed.images.table import SLURM
from testbed.paths import SITE, STATE

ACCOUNTING = "slurmdbd"
CONTROLLER = "slurmctld"
CONFIGURATION = STATE / "slurm"
"""Files of ``/etc/slurm``, the same on every host of the cluster."""
SLURM_CONFIGURATION = CONFIGURATION / "slurm.conf"
SSSD_CONFIGURATION = STATE / "sssd.conf"
SSSD_TEMPLATE = ROOT / "ansible" / "roles" / "directory_client" / "templates" / "sssd.conf.j2"
NODE_CPUS = 64
"""More than the machine has: the tests need SLURM to believe that there are this many."""
NODE_MEMORY_MIB = 262144
READY_SECONDS = 90
CONTROL_SHARES = "4096"
NODE_SHARES = "512"
"""Shares of processor time. Many starting workers must not starve SLURM's daemons."""


@dataclass(frozen=True)
class Node:
    """A compute node."""

    name: str
    address: str


NODES = (Node("hammer-a000", "172.30.0.23"), Node("hammer-a001", "172.30.0.24"))


def munge_key() -> Path:
    """Return the key by which munge authenticates the cluster's hosts. Only they and the submission host have it."""
    path, _ = secret_files.ensure("munge.key", octets=128)
    return path


def ensure_slurm() -> None:
    """Bring up the cluster, with the site's account for the members of its groups."""
    site = load(SITE)
    write_configuration(site)
    docker.ensure_network()
    image = SLURM.ensure()
    docker.ensure_container(_machine(ACCOUNTING, "slurmdbd", "172.30.0.21", image, site, CONTROL_SHARES))
    waiting.until("SLURM's accounting answers", _accounting_answers, seconds=READY_SECONDS)
    _ensure_accounts(site)
    docker.ensure_container(_machine(CONTROLLER, "slurmctld", "172.30.0.22", image, site, CONTROL_SHARES))
    for node in NODES:
        docker.ensure_container(
            _machine(node.name, "slurmd", node.address, image, site, NODE_SHARES, mounts=node_mounts(site))
        )
    waiting.until("all compute nodes are idle or allocated", _nodes_ready, seconds=READY_SECONDS)
    waiting.until(
        "the controller knows the directory's accounts",
        functools.partial(_knows_accounts, [account.name for account in members(site)]),
        seconds=READY_SECONDS,
    )


def _machine(
    name: str,
    daemon: str,
    address: str,
    image: str,
    site: Site,
    shares: str,
    mounts: Mapping[Path, str] | None = None,
) -> docker.Container:
    authority = site.identity.directory.ca_file
    if authority is None:
        raise ValueError(
            f"{SITE}: identity.directory.ca_file is missing: the testbed's directory has an authority of its own"
        )
    key = munge_key()
    return docker.Container(
        f"af-{name}",
        image,
        command=(daemon,),
        address=address,
        aliases=(name,),
        mounts={
            key: "/run/cluster/munge.key:ro",
            SSSD_CONFIGURATION: "/run/cluster/sssd.conf:ro",
            CONFIGURATION: "/run/cluster/slurm:ro",
            certificate_authority(): f"{authority}:ro",
            **(mounts or {}),
        },
        options=("--init", "--cpu-shares", shares),
        inputs=(content.digest(CONFIGURATION, SSSD_CONFIGURATION, key, certificate_authority()),),
    )


def node_mounts(site: Site) -> dict[Path, str]:
    """Return the volumes that compute nodes mount: writable if a user class may write to them from SLURM."""
    found = {}
    for volume in site.storage:
        mounts = [
            mount
            for user_class in site.slurm.classes
            for mount in storage_table.mounts(site, Backend.SLURM, user_class)
            if mount.volume == volume
        ]
        if mounts:
            suffix = ":ro" if all(mount.read_only for mount in mounts) else ""
            found[storage.volume_directory(volume)] = f"{volume.path}{suffix}"
    return found


def write_configuration(site: Site) -> None:
    """Write the cluster's configuration files."""
    CONFIGURATION.mkdir(parents=True, exist_ok=True)
    for name, text in {
        SLURM_CONFIGURATION: slurm_configuration(site),
        CONFIGURATION / "slurmdbd.conf": _ACCOUNTING_CONFIGURATION,
        CONFIGURATION / "cgroup.conf": "",
        SSSD_CONFIGURATION: sssd_configuration(site),
    }.items():
        name.write_text(text)


def sssd_configuration(site: Site) -> str:
    """Return sssd's configuration, rendered from the template by which Ansible configures the submission host."""
    template = jinja2.Template(SSSD_TEMPLATE.read_text(), undefined=jinja2.StrictUndefined, trim_blocks=True)
    return str(template.render(site=site.model_dump(mode="json")))


def slurm_configuration(site: Site) -> str:
    """Return the text of slurm.conf."""
    slurm = site.slurm
    nodes = ",".join(node.name for node in NODES)
    settings = {
        "ClusterName": slurm.cluster_name,
        "SlurmctldHost": CONTROLLER,
        "AuthType": "auth/munge",
        "CredType": "cred/munge",
        "SlurmUser": "slurm",
        "StateSaveLocation": "/var/lib/slurm/slurmctld",
        "SlurmdSpoolDir": "/var/lib/slurm/slurmd",
        "SlurmctldPidFile": "/var/lib/slurm/slurmctld/slurmctld.pid",
        "SlurmdPidFile": "/run/slurmd.pid",
        # The nodes are containers: they have no cgroups of their own, and fewer CPUs than they declare.
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "SlurmdParameters": "config_overrides",
        "PropagateResourceLimits": "NONE",
        "ReturnToService": "2",
        "MpiDefault": "none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "SchedulerType": "sched/backfill",
        # By default a job waits up to 3 s for the scheduler's next pass.
        "SchedulerParameters": "batch_sched_delay=0",
        "EnforcePartLimits": "YES",
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": ACCOUNTING,
        "AccountingStorageEnforce": "associations,limits,qos",
        # Hammer's accounting stores job scripts and environments, so the tests check that they hold nothing of a
        # user's.
        "AccountingStoreFlags": "job_script,job_env,job_comment",
        # The machine may be overloaded for a while.
        "MessageTimeout": "60",
        "SlurmdTimeout": "300",
        # For sbatch --export=LIST, which dask-gateway uses, slurmd runs the user's login shell to get its environment.
        # After this timeout the job starts with LIST alone.
        "GetEnvTimeout": "60",
    }
    lines = [f"{name}={value}" for name, value in settings.items()]
    placements = (slurm.scheduler_jobs, slurm.worker_jobs)
    features = ",".join(placement.constraint for placement in placements if placement.constraint)
    lines.append(
        f"NodeName={nodes} CPUs={NODE_CPUS} RealMemory={NODE_MEMORY_MIB} State=UNKNOWN"
        + (f" Feature={features}" if features else "")
    )
    lines += [
        f"PartitionName={partition} Nodes={nodes}"
        f" Default={'YES' if partition == slurm.worker_jobs.partition else 'NO'}"
        " DefaultTime=04:00:00 MaxTime=1-00:00:00 DefMemPerCPU=1024 State=UP"
        for partition in dict.fromkeys(placement.partition for placement in placements)
    ]
    return "\n".join([*lines, ""])


# The database authenticates its clients by the socket's peer, so it needs no password.
_ACCOUNTING_CONFIGURATION = f"""\
AuthType=auth/munge
DbdHost={ACCOUNTING}
SlurmUser=slurm
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm_acct_db
PidFile=/var/lib/slurm/slurmdbd.pid
"""


def _accounting_answers() -> bool:
    return process.succeeds(["docker", "exec", f"af-{ACCOUNTING}", "sacctmgr", "--noheader", "show", "cluster"])


def _sacctmgr(*arguments: str) -> list[str]:
    answer = docker.execute(f"af-{ACCOUNTING}", ["sacctmgr", "--noheader", "--parsable2", "--immediate", *arguments])
    return answer.split("\n")


def members(site: Site) -> list[people.Account]:
    """Return the accounts that may use the cluster: members of the groups for which the gateway may submit."""
    found = {account for group in site.slurm.user_groups for account in people.load().members(group)}
    return sorted(found, key=lambda account: account.name)


def _ensure_accounts(site: Site) -> None:
    cluster, account = site.slurm.cluster_name, site.slurm.account
    if cluster not in _sacctmgr("show", "cluster", "format=cluster"):
        _sacctmgr("add", "cluster", cluster)
    if account not in _sacctmgr("show", "account", "format=account"):
        _sacctmgr("add", "account", account, f"cluster={cluster}", f"description={account}", f"organization={account}")
    wanted = [member.name for member in members(site)]
    known = _sacctmgr("show", "associations", f"account={account}", "format=user")
    missing = [name for name in wanted if name not in known]
    if missing:
        _sacctmgr("add", "user", ",".join(missing), f"account={account}", f"cluster={cluster}")


def _nodes_ready() -> bool:
    command = ["docker", "exec", f"af-{CONTROLLER}", "sinfo", "--noheader", "--Node", "--format", "%N %t"]
    try:
        lines = process.capture(command).split("\n")
    except process.CommandError:
        return False
    good = ("idle", "mix", "alloc", "comp")
    return {line.split()[0] for line in lines if line and line.split()[1] in good} == {node.name for node in NODES}


def _knows_accounts(names: Iterable[str]) -> bool:
    return process.succeeds(["docker", "exec", f"af-{CONTROLLER}", "getent", "passwd", *names])
