"""The submission host of the testbed, as the play leaves it: nothing left to do, and no right too many."""

import json
import subprocess
from collections.abc import Callable
from functools import cache

import pytest

from gateway.site import Site, load
from testbed import ansible, docker, people, submission
from testbed.paths import SITE

pytestmark = pytest.mark.e2e


@cache
def site() -> Site:
    return load(SITE)


def on_host(*command: str, user: str = "root", standard_input: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", "exec", "--interactive", submission.CONTAINER, "runuser", "-u", user, "--", *command],
        input=standard_input,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def launcher() -> list[str]:
    return [f"{site().slurm.install_directory}/bin/python", "-I", "-m", "gateway.slurm.launcher"]


@pytest.fixture(scope="module", autouse=True)
def made() -> None:
    submission.ensure_submission()


def test_second_run_changes_nothing() -> None:
    assert submission.run_play() == ansible.Play(changes=0, changed=())


def test_check_run_tells_of_a_change_and_makes_none() -> None:
    path = "/etc/dask-gateway/site.yaml"
    digest = on_host("sha256sum", path).stdout
    docker.execute(submission.CONTAINER, ["chmod", "0640", path])
    try:
        assert submission.run_play(check=True).changed == ("Site is here", "Restart server")
        assert on_host("stat", "--format=%a", path).stdout == "640\n"
    finally:
        docker.execute(submission.CONTAINER, ["chmod", "0644", path])
    assert on_host("sha256sum", path).stdout == digest


def test_directory_accounts_are_known() -> None:
    for account in people.load().accounts:
        assert on_host("id", "-u", account.name).stdout == f"{account.uid}\n"
        groups = {account.group, *account.supplementary_groups}
        assert set(on_host("id", "-Gn", account.name).stdout.split()) == groups


def test_gateway_may_run_the_launcher_as_a_member(launcher: list[str]) -> None:
    answer = on_host("sudo", "-nHu", "alice", *launcher, user=site().slurm.system_user)
    # The launcher's own answer to an empty request.
    assert answer.returncode == 0
    assert json.loads(answer.stdout)["ok"] is False


@pytest.mark.weakness(9)
@pytest.mark.parametrize(
    ("account", "change"),
    [
        ("alice", lambda _: ["/usr/bin/id"]),
        ("alice", lambda command: [*command, "argument"]),
        ("alice", lambda command: [command[0], "-c", "print()"]),
        ("alice", lambda command: [*command[:3], "gateway.site", "schema"]),
        ("alice", lambda command: [command[0], *command[2:]]),
        ("root", lambda command: command),
        ("paf0001", lambda command: command),
    ],
    ids=[
        "another command",
        "an argument",
        "any code",
        "another module",
        "the user's own modules",
        "as root",
        "as somebody outside of the groups",
    ],
)
def test_gateway_may_nothing_else(launcher: list[str], account: str, change: Callable[[list[str]], list[str]]) -> None:
    answer = on_host("sudo", "-nHu", account, *change(launcher), user=site().slurm.system_user)
    assert answer.returncode == 1
    assert "password is required" in answer.stderr


def test_others_may_not_run_the_launcher_as_somebody_else(launcher: list[str]) -> None:
    assert on_host("sudo", "-nHu", "alice", *launcher, user="bob").returncode == 1


@pytest.mark.weakness(3, 11)
@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (20002, 20000), (20001, 21001)])
def test_launcher_acts_only_as_who_the_gateway_means(launcher: list[str], uid: int, gid: int) -> None:
    request = json.dumps({"action": "discard", "cluster": "0" * 32, "uid": uid, "gid": gid})
    answer = on_host("sudo", "-nHu", "alice", *launcher, user=site().slurm.system_user, standard_input=request)
    assert "this machine gives the account the uid 20001" in json.loads(answer.stdout)["error"]


def test_variables_of_the_gateway_do_not_reach_the_launcher(launcher: list[str]) -> None:
    """A module of the standard library's name, where PYTHONPATH would find it first."""
    directory = on_host("mktemp", "--directory").stdout.strip()
    on_host("chmod", "755", directory)
    on_host("tee", f"{directory}/json.py", standard_input="raise SystemExit('not the standard library')")
    command = ["env", f"PYTHONPATH={directory}", *launcher]
    as_alice = ["env", f"PYTHONPATH={directory}", "sudo", "-nHu", "alice", *launcher]
    try:
        for arguments in (command, as_alice):
            answer = on_host(*arguments, user=site().slurm.system_user, standard_input="{}")
            assert "actions are" in json.loads(answer.stdout)["error"]
        without_isolation = [word for word in command if word != "-I"]
        assert "not the standard library" in on_host(*without_isolation, user=site().slurm.system_user).stderr
    finally:
        on_host("rm", "-r", directory)


@pytest.mark.weakness(13)
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/dask-gateway-secrets/hub-token", "400 {user}"),
        ("/etc/dask-gateway-secrets/proxy-token.env", "600 root"),
        ("/etc/dask-gateway-secrets/encryption-keys.env", "600 root"),
        ("/etc/munge/munge.key", "400 munge"),
        ("/etc/dask-gateway/launcher.json", "644 root"),
        ("{state}", "700 {user}"),
    ],
)
def test_secrets_are_their_owners_alone(path: str, expected: str) -> None:
    slurm = site().slurm
    names = {"user": slurm.system_user, "state": slurm.state_directory}
    found = on_host("stat", "--format=%a %U", path.format(**names)).stdout.strip()
    assert found == expected.format(**names)


def test_volumes_are_mounted_as_the_storage_table_says() -> None:
    assert on_host("touch", "/depot/cms/.probe").returncode == 0
    assert on_host("rm", "/depot/cms/.probe").returncode == 0
    for path in ("/cvmfs", "/eos/purdue"):
        assert "Read-only file system" in on_host("touch", f"{path}/.probe").stderr
    assert on_host("test", "-e", "/work").returncode == 1


def test_proxy_outlives_a_restart_of_the_server() -> None:
    def process_id(service: str) -> str:
        return on_host("systemctl", "show", "--property=MainPID", "--value", service).stdout.strip()

    proxy, server = (process_id(f"{name}.service") for name in ("dask-gateway-proxy", "dask-gateway"))
    on_host("systemctl", "restart", "dask-gateway.service")
    assert process_id("dask-gateway.service") != server
    assert process_id("dask-gateway-proxy.service") == proxy
