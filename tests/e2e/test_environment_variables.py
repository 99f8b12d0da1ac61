"""``env``: what is meant for workers arrives there byte for byte, and stands nowhere else."""

import json
import secrets
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.kubernetes import names
from gateway.site import Backend
from release import process
from testbed import cluster as kind
from testbed import docker, submission
from testbed.slurm import NODES
from testbed.waiting import until
from tests.e2e import administration, notebooks
from tests.e2e.administration import Administrator, SlurmAdministrator
from tests.e2e.notebooks import Notebook, on_worker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SETTINGS = administration.SETTINGS
ODD = {
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
    """Alice's cluster with one worker, that was made with many variables."""

    kernel: Notebook
    name: str
    secret: str
    """The value of one of them, which stands nowhere else on this machine."""


@pytest.fixture(scope="module")
def running(backend: Backend, no_leftovers: None) -> Iterator[Running]:
    secret = f"canary-{secrets.token_hex(12)}"
    env = {**ODD, **LEFT_OUT, **HARMFUL, "CANARY": secret, "PATH": "/opt/mine/bin:/usr/bin:/bin"}
    with Notebook("alice") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        name = kernel.run(notebooks.new_cluster({**notebooks.SMALL, "env": env}))
        kernel.run(notebooks.connect())
        yield Running(kernel, name, secret)


@pytest.mark.parametrize("name", ODD)
def test_values_keep_every_byte(name: str, running: Running) -> None:
    expected = list(ODD[name].encode("utf-8", "surrogateescape"))
    assert on_worker(running.kernel, f"list(os.environb[{name!r}.encode()])") == expected


@pytest.mark.weakness(32, 33)
@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_the_notebooks_own_stays_there(name: str, running: Running) -> None:
    assert on_worker(running.kernel, f"os.environ.get({name!r})") != LEFT_OUT[name]


@pytest.mark.parametrize("name", HARMFUL)
def test_what_would_break_others_arrives_at_workers_alone(name: str, running: Running) -> None:
    assert on_worker(running.kernel, f"os.environ[{name!r}]") == HARMFUL[name]


def test_the_environments_programs_come_first(running: Running) -> None:
    path = f"{notebooks.PIXI_PROJECT}/.pixi/envs/default/bin:/opt/mine/bin:/usr/bin:/bin"
    assert on_worker(running.kernel, "os.environ['PATH']") == path


def test_the_scheduler_has_them_too(running: Running) -> None:
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


@pytest.mark.parametrize("backend", [Backend.KUBERNETES], indirect=True, ids=str, scope="session")
def test_an_external_user_is_found_under_the_jupyterhub_name(backend: Backend, no_leftovers: None) -> None:
    with Notebook("dave-cern") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        kernel.run("import os\n" + notebooks.new_cluster(f"**{notebooks.SMALL}, env=dict(os.environ)"))
        kernel.run(notebooks.connect() + "\nimport getpass, pwd")
        assert on_worker(kernel, "(getpass.getuser(), pwd.getpwuid(os.getuid()).pw_name)") == ["dave-cern", "dave-cern"]


def test_without_env_workers_have_a_path(backend: Backend, no_leftovers: None) -> None:
    with Notebook("alice") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        kernel.run(notebooks.new_cluster(notebooks.SMALL))
        kernel.run(notebooks.connect())
        path = on_worker(kernel, "os.environ['PATH']")
    assert path == f"{notebooks.PIXI_PROJECT}/.pixi/envs/default/bin:/usr/local/bin:/usr/bin:/bin"


# Where a value must not stand. Each place is seen to be looked at: what is there is found by another text.


def kubernetes_places() -> dict[str, str]:
    """Everything about clusters that is not a secret, and what the gateway's processes have and write."""
    namespace = SETTINGS.kubernetes.namespace
    objects = "daskclusters.gateway.dask.org,pods,events,services,configmaps,ingressroutes.traefik.io"
    logs = {
        # Of all replicas: a cluster's requests may all have come to the same one.
        f"log of {part}": kind.kubectl(
            "logs", f"--namespace={namespace}", f"deployment/{part}", "--all-pods", "--tail=-1"
        )
        for part in (name(SETTINGS.kubernetes.release) for name in (names.api_name, names.controller_name))
    }
    node = process.capture(["docker", "ps", "--quiet", "--filter", "name=control-plane"]).strip()
    return {
        "objects": kind.kubectl("get", objects, f"--namespace={namespace}", "--output=yaml"),
        **logs,
        "processes": docker.execute(node, ["ps", "axww", "-o", "args"]),
    }


def slurm_places() -> dict[str, str]:
    """SLURM's queue and accounting, the gateway's database, log and processes, and the process lists of the nodes."""
    state = SETTINGS.slurm.state_directory
    shell = (
        f"journalctl --no-pager --unit dask-gateway; tr -c '[:print:]' '\\n' <{state}/gateway.sqlite;"
        f" for process in $(pgrep -u {SETTINGS.slurm.system_user});"
        " do tr '\\0' '\\n' </proc/$process/environ; done"
    )
    jobs = docker.execute(administration.SLURMCTLD, ["squeue", "--noheader", "--all", "--format", "%i"]).split()
    accounting = [["sacct", "--job", job, option] for job in jobs for option in ("--batch-script", "--env-vars")]
    return {
        "gateway": docker.execute(submission.CONTAINER, ["sh", "-c", shell]),
        "queue": docker.execute(administration.SLURMCTLD, ["scontrol", "show", "jobs", "--details"]),
        "accounting": "".join(docker.execute(administration.SLURMCTLD, command) for command in accounting),
        **{
            f"processes of {node.name}": docker.execute(f"af-{node.name}", ["ps", "axww", "-o", "args"])
            for node in NODES
        },
    }


@pytest.mark.weakness(33)
@pytest.mark.parametrize("backend", [Backend.KUBERNETES], indirect=True, ids=str, scope="session")
def test_values_stand_nowhere_on_kubernetes(backend: Backend, running: Running) -> None:
    places = kubernetes_places()
    short = running.name.rsplit(".", 1)[-1]
    assert [place for place, text in places.items() if short not in text] == []
    assert [place for place, text in places.items() if running.secret in text] == []


@pytest.mark.weakness(10, 33)
@pytest.mark.parametrize("backend", [Backend.SLURM], indirect=True, ids=str, scope="session")
def test_values_stand_nowhere_on_slurm(backend: Backend, running: Running) -> None:
    # SLURM's accounting is some seconds late.
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
@pytest.mark.parametrize("backend", [Backend.SLURM], indirect=True, ids=str, scope="session")
def test_variables_do_not_change_how_jobs_are_submitted(backend: Backend, running: Running) -> None:
    limits = docker.execute(
        administration.SLURMCTLD, ["squeue", "--noheader", "--all", "--format", "%l %Z"]
    ).splitlines()
    own = {line.split()[0] for line in limits if running.name in line}
    days, seconds = divmod(SETTINGS.slurm.timeouts.lifetime_seconds, 86400)
    assert seconds == 0
    assert own == {f"{days}-00:00:00"}


@pytest.mark.parametrize("backend", [Backend.SLURM], indirect=True, ids=str, scope="session")
def test_files_are_the_users_alone(backend: Backend, running: Running) -> None:
    folder = SlurmAdministrator().folder("alice", running.name)
    uid, _, _ = administration.directory_identity("alice")
    assert (folder.stat().st_mode & 0o777, folder.stat().st_uid) == (0o700, uid)
    assert {path.stat().st_uid for path in folder.iterdir()} == {uid}
    # The scheduler's Python keeps what it has compiled beside its preload.
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.name != "__pycache__"}
    assert {"variables", "api-token", "dask.pem", "dask.crt"} <= set(modes)
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("backend", [Backend.KUBERNETES], indirect=True, ids=str, scope="session")
def test_the_secret_belongs_to_the_cluster(backend: Backend, running: Running) -> None:
    short = running.name.rsplit(".", 1)[-1]
    found = json.loads(
        kind.kubectl(
            *("get", "secret", f"dask-variables-{short}", f"--namespace={SETTINGS.kubernetes.namespace}"),
            "--output=json",
        )
    )
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("DaskCluster", short)


def test_values_are_gone_with_the_cluster(backend: Backend, administrator: Administrator, no_leftovers: None) -> None:
    with Notebook("alice") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        name = kernel.run(notebooks.new_cluster({**notebooks.SMALL, "env": {"A": "b"}}))
        kept = {Backend.KUBERNETES: "secret", Backend.SLURM: "folder"}[backend]
        assert kept in administrator.pieces(name)
        kernel.snippet("shutdown")
        until("nothing is left", lambda: not administrator.pieces(name), seconds=60, pause_seconds=1)


@pytest.mark.parametrize("backend", [Backend.SLURM], indirect=True, ids=str, scope="session")
@pytest.mark.weakness(23)
def test_logs_outlive_the_cluster(backend: Backend, no_leftovers: None) -> None:
    with Notebook("alice") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        name = kernel.run(notebooks.new_cluster(notebooks.SMALL))
        kernel.snippet("shutdown")
        until("the cluster is gone", lambda: not SlurmAdministrator().pieces(name), seconds=60, pause_seconds=1)
        place = SETTINGS.slurm.staging_directory.format(username="alice")
        shown = kernel.run(
            f"import subprocess\nsubprocess.getoutput('tail -n 99 ' + {shlex.quote(f'{place}/logs/{name}')!r} + '/*')"
        )
    assert "Scheduler at" in shown
