"""How the server calls the launcher and reads its answers."""

import asyncio
import json

import pytest

from gateway.errors import Refusal
from gateway.slurm import launcher_client
from gateway.slurm.jobs import Owner
from gateway.slurm.launcher_client import LauncherError, read_answer
from tests.unit.slurm.world import cluster_in


@pytest.fixture
def sudo(monkeypatch):
    """The processes that the server starts; each prints ``answer``."""
    started = []

    class Process:
        answer = b'{"ok": true, "job": "7"}'

        async def communicate(self, text):
            started[-1]["input"] = json.loads(text)
            return self.answer, b"sudo: no"

    async def create(*command, **arguments):
        started.append({"command": command, **arguments})
        return Process()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", create)
    return started


@pytest.mark.weakness(9, 10)
async def test_users_act_by_sudo_without_a_shell_and_without_variables(running, sudo, testbed_site):
    cluster = cluster_in(running, testbed_site)
    await launcher_client.act(Owner.of(cluster), "cancel", jobs=["7"], remove=False)
    (process,) = sudo
    assert process["command"] == ("sudo", "-nHu", "alice", *launcher_client.LAUNCHER)
    assert launcher_client.LAUNCHER[1:] == ("-I", "-m", "gateway.slurm.launcher")
    assert process["env"] == {}
    assert process["input"] == {
        "action": "cancel",
        "cluster": cluster.name,
        "uid": 20001,
        "gid": 20000,
        "jobs": ["7"],
        "remove": False,
    }


def test_answers_of_the_launcher():
    assert read_answer("submit", b'{"ok": true, "job": "7"}', b"") == {"ok": True, "job": "7"}
    with pytest.raises(Refusal, match="no pixi"):
        read_answer("start", b'{"ok": false, "refusal": "no pixi.toml"}', b"")
    with pytest.raises(LauncherError, match="'submit' failed: sbatch ended"):
        read_answer("submit", b'{"ok": false, "error": "sbatch ended"}', b"")
    with pytest.raises(LauncherError, match="did not answer to 'submit': sudo: a password"):
        read_answer("submit", b"", b"sudo: a password is required")
