"""The sudo rule: the gateway may run the launcher as its users, and nothing else."""

import json
import shlex
from collections.abc import Callable

import pytest

from tests.ansible.hosts import launcher, run_as, run_launcher, site

pytestmark = pytest.mark.e2e


def test_gateway_may_run_the_launcher_as_a_member(host) -> None:
    answer = run_launcher(host, command=launcher(), account="alice")
    # The launcher itself answers an empty request.
    assert answer.rc == 0
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
def test_gateway_may_nothing_else(host, account: str, change: Callable[[list[str]], list[str]]) -> None:
    answer = run_launcher(host, command=change(launcher()), account=account)
    assert answer.rc == 1
    assert "password is required" in answer.stderr


def test_others_may_not_run_the_launcher_as_somebody_else(host) -> None:
    answer = run_as(host, "bob", ["sudo", "-nHu", "alice", *launcher()])
    assert answer.rc == 1
    assert "password is required" in answer.stderr


@pytest.mark.weakness(3, 11)
@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (20002, 20000), (20001, 21001)])
def test_launcher_acts_only_as_who_the_gateway_means(host, uid: int, gid: int) -> None:
    request = json.dumps({"action": "discard", "cluster": "0" * 32, "uid": uid, "gid": gid})
    answer = run_launcher(host, command=launcher(), account="alice", standard_input=request)
    assert "this machine gives the account the uid 20001" in json.loads(answer.stdout)["error"]


def test_variables_of_the_gateway_do_not_reach_the_launcher(host) -> None:
    """A module with a name of the standard library, where PYTHONPATH would find it first."""
    directory = host.check_output("mktemp --directory")
    host.check_output("chmod 755 %s", directory)
    host.check_output("echo %s > %s", "raise SystemExit('not the standard library')", f"{directory}/json.py")
    gateway = site().slurm.system_user
    command = ["env", f"PYTHONPATH={directory}", *launcher()]
    as_alice = ["env", f"PYTHONPATH={directory}", "sudo", "-nHu", "alice", *launcher()]
    try:
        for arguments in (command, as_alice):
            answer = run_as(host, gateway, arguments, "{}")
            assert "actions are" in json.loads(answer.stdout)["error"]
        without_isolation = [word for word in command if word != "-I"]
        assert "not the standard library" in run_as(host, gateway, without_isolation).stderr
    finally:
        host.check_output("rm -r %s", directory)


def test_sudo_lists_exactly_the_launcher(host) -> None:
    rule = host.file("/etc/sudoers.d/dask-gateway")
    assert (rule.user, rule.group, rule.mode) == ("root", "root", 0o440)
    listed = host.check_output("sudo -l -U %s", site().slurm.system_user)
    commands = [line.strip() for line in listed.splitlines() if "NOPASSWD" in line]
    members = ", ".join(f"%{group}" for group in site().slurm.user_groups)
    assert commands == [f"({members}, !root) NOPASSWD: {shlex.join(launcher())}"]
