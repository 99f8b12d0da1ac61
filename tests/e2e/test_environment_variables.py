"""Environment variables of ``env`` reach the processes of the cluster byte for byte, and appear nowhere else."""

import json
import secrets
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.kubernetes import names
from gateway.site import Backend
from testbed import cluster, docker, submission
from testbed.slurm import NODES
from testbed.waiting import until
from tests.e2e import notebooks
from tests.e2e.administration import DASK_CLUSTERS, Administrator, SlurmAdministrator, identity_of
from tests.e2e.back_ends import on_kubernetes, on_slurm
from tests.e2e.machines import (
    API,
    CONTROLLER,
    SETTINGS,
    SLURMCTLD,
    kubectl,
    kubectl_clusters,
    object_name,
    slurm_container,
)
from tests.e2e.notebooks import Notebook, on_worker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

UNUSUAL_VALUES = {
    "QUOTES": 'it\'s "quoted"',
    "NEWLINES": "first\nsecond\n\tthird\r\n",
    "PERCENT": "%d %s 100%",
    "DOLLARS": "$HOME $(id) $$ ${PATH} `id`",
    "UNICODE": "é ß 日本 \U0001f600",
    "NOT_UTF8": "\udcff\udc80",
    "EMPTY": "",
    "EQUALS": "a=b=c",
    "BACKSLASH": "\\ \\n \\",
}
LEFT_OUT = {
    "BASH_FUNC_module%%": "() { :; }",
    "with space": "1",
    "JUPYTERHUB_API_TOKEN": "token",
    "KUBERNETES_SERVICE_HOST": "1.2.3.4",
    "HOSTNAME": "notebook",
    "NVIDIA_VISIBLE_DEVICES": "all",
    "SBATCH_TIMELIMIT": "1",
    "SLURM_CONF": "/nonexistent",
}
HARMFUL = {"LD_PRELOAD": "/nonexistent.so", "LD_LIBRARY_PATH": "/nonexistent", "PYTHONPATH": "/nonexistent"}


@dataclass(frozen=True)
class Running:
    """Alice's cluster with one worker, created with many variables."""

    kernel: Notebook
    name: str
    secret: str
    """The value of one variable, unique on this machine."""


@pytest.fixture(scope="module")
def running(backend: Backend, no_leftovers: None) -> Iterator[Running]:
    secret = f"canary-{secrets.token_hex(12)}"
    env = {**UNUSUAL_VALUES, **LEFT_OUT, **HARMFUL, "CANARY": secret, "PATH": "/opt/mine/bin:/usr/bin:/bin"}
    with notebooks.connected("alice", backend) as kernel:
        name = notebooks.start_cluster(kernel, {**notebooks.SMALL, "env": env})
        yield Running(kernel, name, secret)


@pytest.mark.parametrize("name", UNUSUAL_VALUES)
def test_values_keep_every_byte(name: str, running: Running) -> None:
    expected = list(UNUSUAL_VALUES[name].encode("utf-8", "surrogateescape"))
    assert on_worker(running.kernel, f"list(os.environb[{name!r}.encode()])") == expected


@pytest.mark.weakness(32, 33)
@pytest.mark.parametrize("name", LEFT_OUT)
def test_variables_of_the_notebook_itself_do_not_reach_workers(name: str, running: Running) -> None:
    assert on_worker(running.kernel, f"os.environ.get({name!r})") != LEFT_OUT[name]


@pytest.mark.parametrize("name", HARMFUL)
def test_variables_that_could_break_programs_reach_workers(name: str, running: Running) -> None:
    assert on_worker(running.kernel, f"os.environ[{name!r}]") == HARMFUL[name]


def test_path_begins_with_the_environment(running: Running) -> None:
    path = f"{notebooks.PIXI_PROJECT}/.pixi/envs/default/bin:/opt/mine/bin:/usr/bin:/bin"
    assert on_worker(running.kernel, "os.environ['PATH']") == path


def test_the_scheduler_has_the_variables(running: Running) -> None:
    assert running.kernel.run("client.run_on_scheduler(lambda: os.environ['CANARY'])") == running.secret


def test_user_code_finds_its_user_and_a_home(running: Running) -> None:
    kernel = running.kernel
    kernel.run("""
def place():
    import getpass, os, pathlib, pwd
    home = pathlib.Path("~").expanduser()
    (home / "probe").write_text("")
    (home / "probe").unlink()
    return getpass.getuser(), pwd.getpwuid(os.getuid()).pw_name, str(home)
""")
    user, entry, home = on_worker(kernel, "place()")
    assert (user, entry) == ("alice", "alice")
    assert not home.startswith("/home")


@on_kubernetes
def test_an_external_user_is_found_under_the_jupyterhub_name(backend: Backend, no_leftovers: None) -> None:
    with notebooks.connected("dave-cern", backend) as kernel:
        kernel.run("import getpass, os, pwd")
        notebooks.start_cluster(kernel, f"**{notebooks.SMALL}, env=dict(os.environ)")
        assert on_worker(kernel, "(getpass.getuser(), pwd.getpwuid(os.getuid()).pw_name)") == ["dave-cern", "dave-cern"]


def test_without_env_workers_have_a_path(backend: Backend, no_leftovers: None) -> None:
    with notebooks.connected("alice", backend) as kernel:
        notebooks.start_cluster(kernel)
        path = on_worker(kernel, "os.environ['PATH']")
    assert path == f"{notebooks.PIXI_PROJECT}/.pixi/envs/default/bin:/usr/local/bin:/usr/bin:/bin"


# Places where a value must not appear. Each test finds the cluster's name there too, which shows that it searches them.


def kubernetes_places() -> dict[str, str]:
    """Return the objects of clusters other than Secrets, the logs of the gateway, and the arguments of processes."""
    objects = ("get", f"{DASK_CLUSTERS},pods,events,services,configmaps,ingressroutes.traefik.io", "--output", "yaml")
    return {
        "objects": kubectl_clusters(*objects) + kubectl(*objects),
        # Logs of all replicas: one replica can have had all requests about a cluster.
        **{f"log of {part}": kubectl("logs", part, "--all-pods", "--tail=-1") for part in (API, CONTROLLER)},
        "processes": docker.execute(cluster.NODE, ["ps", "axww", "-o", "args"]),
    }


def slurm_places() -> dict[str, str]:
    """Return SLURM's queue and accounting, the gateway's database, log and variables, and the nodes' processes."""
    state = SETTINGS.slurm.state_directory
    shell = (
        f"journalctl --no-pager --unit dask-gateway; tr -c '[:print:]' '\\n' <{state}/gateway.sqlite;"
        f" for process in $(pgrep -u {SETTINGS.slurm.system_user});"
        " do tr '\\0' '\\n' </proc/$process/environ; done"
    )
    jobs = docker.execute(SLURMCTLD, ["squeue", "--noheader", "--all", "--format", "%i"]).split()
    accounting = [["sacct", "--job", job, option] for job in jobs for option in ("--batch-script", "--env-vars")]
    return {
        "gateway": docker.execute(submission.CONTAINER, ["sh", "-c", shell]),
        "queue": docker.execute(SLURMCTLD, ["scontrol", "show", "jobs", "--details"]),
        "accounting": "".join(docker.execute(SLURMCTLD, command) for command in accounting),
        **{
            f"processes of {node.name}": docker.execute(slurm_container(node.name), ["ps", "axww", "-o", "args"])
            for node in NODES
        },
    }


@pytest.mark.weakness(33)
@on_kubernetes
def test_values_appear_in_no_object_log_or_argument_on_kubernetes(backend: Backend, running: Running) -> None:
    places = kubernetes_places()
    assert [place for place, text in places.items() if object_name(running.name) not in text] == []
    assert [place for place, text in places.items() if running.secret in text] == []


@pytest.mark.weakness(10, 33)
@on_slurm
def test_values_appear_in_no_record_log_or_argument_on_slurm(backend: Backend, running: Running) -> None:
    # SLURM writes its accounting some seconds later.
    until("accounting knows the jobs", lambda: running.name in slurm_places()["accounting"], seconds=30)
    places = slurm_places()
    busy = [place for place, text in places.items() if running.name in text]
    assert {"gateway", "queue", "accounting"} <= set(busy)
    assert any(place.startswith("processes") for place in busy)
    assert [place for place, text in places.items() if running.secret in text] == []


def test_no_reply_of_the_api_has_values(backend: Backend, running: Running) -> None:
    address = SETTINGS.gateway(backend).address
    code = f"""
import json, os, urllib.request
def reply(path):
    headers = {{"Authorization": "jupyterhub " + os.environ["JUPYTERHUB_API_TOKEN"]}}
    return urllib.request.urlopen(urllib.request.Request({address!r} + path, headers=headers)).read().decode()
[reply("/api/v1/clusters/"), reply("/api/v1/clusters/{running.name}")]
"""
    for reply in running.kernel.run(code):
        assert running.name in reply
        assert running.secret not in reply
        assert json.loads(reply)


@pytest.mark.weakness(10)
@on_slurm
def test_variables_do_not_change_the_time_limit_of_jobs(backend: Backend, running: Running) -> None:
    limits = docker.execute(SLURMCTLD, ["squeue", "--noheader", "--all", "--format", "%l %Z"]).splitlines()
    own = {line.split()[0] for line in limits if running.name in line}
    days, seconds = divmod(SETTINGS.slurm.timeouts.lifetime_seconds, 86400)
    assert seconds == 0
    assert own == {f"{days}-00:00:00"}


@on_slurm
def test_files_of_a_cluster_are_accessible_to_its_user_only(backend: Backend, running: Running) -> None:
    folder = SlurmAdministrator().folder("alice", running.name)
    uid, _, _ = identity_of("alice")
    assert (folder.stat().st_mode & 0o777, folder.stat().st_uid) == (0o700, uid)
    assert {path.stat().st_uid for path in folder.iterdir()} == {uid}
    # The scheduler's Python caches its compiled preload beside it.
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.name != "__pycache__"}
    assert {"variables", "api-token", "dask.pem", "dask.crt"} <= set(modes)
    assert set(modes.values()) == {0o600}


@on_kubernetes
def test_the_secret_belongs_to_the_cluster(backend: Backend, running: Running) -> None:
    name = object_name(running.name)
    found = json.loads(kubectl_clusters("get", "secret", names.variables_name(name), "--output", "json"))
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("DaskCluster", name)


def test_values_are_gone_with_the_cluster(backend: Backend, administrator: Administrator, no_leftovers: None) -> None:
    with notebooks.connected("alice", backend) as kernel:
        name = kernel.run(notebooks.new_cluster({**notebooks.SMALL, "env": {"A": "b"}}))
        kept = {Backend.KUBERNETES: "secret", Backend.SLURM: "folder"}[backend]
        assert kept in administrator.object_kinds(name)
        kernel.snippet("shutdown")
        administrator.await_end(name, seconds=60)


@on_slurm
@pytest.mark.weakness(23)
def test_logs_outlive_the_cluster(backend: Backend, no_leftovers: None) -> None:
    with notebooks.connected("alice", backend) as kernel:
        name = kernel.run(notebooks.new_cluster(notebooks.SMALL))
        kernel.snippet("shutdown")
        SlurmAdministrator().await_end(name, seconds=60)
        place = SETTINGS.slurm.staging_directory.format(username="alice")
        shown = kernel.run(
            f"import subprocess\nsubprocess.getoutput('tail -n 99 ' + {shlex.quote(f'{place}/logs/{name}')!r} + '/*')"
        )
    assert "Scheduler at" in shown
