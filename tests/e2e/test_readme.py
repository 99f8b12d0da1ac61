"""README.md's commands on a testbed that is up, as a developer types them, and the output that README.md shows."""

import os
import re
import subprocess

import pytest

from gateway.site import Backend
from release.paths import ROOT
from testbed import people
from tests.e2e.machines import SETTINGS

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("testbed"), pytest.mark.timeout(600)]

README = (ROOT / "README.md").read_text()


def run(command: str, given: str = "") -> str:
    """Return what a documented command prints. The command must stand in README.md, and must succeed."""
    assert command in README
    # Below `make test`, make would print the directory that it enters and leaves.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKELEVEL", "MAKEFLAGS")}
    completed = subprocess.run(
        command.split(),
        cwd=ROOT,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


def test_the_demo_prints_what_the_readme_shows():
    printed = run("make demo").splitlines()
    (shown,) = re.findall(r"^`make testbed`.*?^```text\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    wanted = [line for line in shown.splitlines() if line.strip() != "..."]
    patterns = [re.escape(line).replace(re.escape("..."), r"\S+") for line in wanted]
    missing = [pattern for pattern in patterns if not any(re.fullmatch(pattern, line) for line in printed)]
    assert not missing, printed


def test_the_shell_runs_as_the_person():
    family = people.load()
    alice = next(person for person in family.people if person.name == "alice")
    assert run("make shell AS=alice", "id -u\n").split()[-1] == str(family.account_of(alice).uid)


def test_hosts_names_both_gateways():
    names = {name for line in run("make hosts").splitlines() for name in line.split()[1:]}
    assert {SETTINGS.gateway(backend).host for backend in Backend} <= names


def test_the_status_finds_no_part_down():
    assert "DOWN" not in run("make testbed-status")
