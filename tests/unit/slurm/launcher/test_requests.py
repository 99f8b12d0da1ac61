"""The checks of a request, and that the launcher answers in every case."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.slurm.launcher.__main__ import answer
from gateway.slurm.launcher.actions import ACTIONS
from tests.unit.slurm.launcher.world import GID, UID, become

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "5",
        '"start"',
        "{}",
        '{"action": "shell"}',
        '{"action": null}',
        '{"action": ["start"]}',
        '{"action": "checked_user"}',
        '{"action": "cancel"}',
        "\0",
        "[" * 100_000,
    ],
)
def test_every_text_is_answered(setting, text):
    found = answer(setting.configuration, text)
    assert found["ok"] is False
    assert found["error"]
    assert json.dumps(found)


def test_missing_limits_are_answered(setting):
    setting.configuration.unlink()
    assert "FileNotFoundError" in setting.cancel()["error"]
    setting.configuration.write_text('{"minimum_uid": 0}')
    assert "TypeError" in setting.cancel()["error"]


@pytest.mark.weakness(9)
@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a" * 32 + "/..", "A" * 32, "a" * 31, "a" * 33, "a" * 32 + "\n", 5]
)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_cluster_has_a_name_of_its_kind(setting, action, name):
    setting.prepare()
    found = setting.answer(action, cluster=name, plan=setting.plan(), files=setting.files(), jobs=[], remove=True)
    assert found["ok"] is False
    assert setting.called("sbatch") is setting.called("scancel") is None
    assert setting.folder.is_dir()


@pytest.mark.parametrize("changed", [{"uid": 20002}, {"gid": 20002}, {"uid": None}, {"gid": "20000"}, {"uid": "20001"}])
def test_the_account_must_be_the_directorys(setting, changed):
    found = setting.prepare(**changed)
    assert "this machine gives the account the uid 20001 and the gid 20000, the directory gives it" in found["error"]
    assert not setting.staging.exists()


@pytest.mark.weakness(3)
@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (0, GID), (UID, 0), (999, GID), (UID, 999)])
@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_is_done_as_a_system_account(setting, monkeypatch, action, uid, gid):
    become(monkeypatch, uid, gid)
    found = setting.answer(
        action, uid=uid, gid=gid, plan=setting.plan(), files=setting.files(), jobs=["1"], remove=True
    )
    assert found == {"ok": False, "error": f"RequestError: uid {uid} and gid {gid} are a system account's"}
    assert setting.called("scancel") is None
    assert not setting.staging.exists()


@pytest.mark.weakness(3)
def test_nothing_is_done_as_root_whatever_the_limits_say(setting, monkeypatch):
    become(monkeypatch, 0, 0)
    limits = json.loads(setting.configuration.read_text())
    setting.configuration.write_text(json.dumps({**limits, "minimum_uid": 0, "minimum_gid": 0}))
    assert "system account" in setting.prepare(uid=0, gid=0)["error"]


def test_the_program_answers_even_without_limits(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "gateway.slurm.launcher"],
        input="",
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["ok"] is False


def test_each_call_imports_the_standard_library_alone():
    code = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]);"
        " import gateway.slurm.launcher.__main__;"
        " print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True, check=True
    )
    assert set(ended.stdout.split()) - sys.stdlib_module_names == {"gateway"}
