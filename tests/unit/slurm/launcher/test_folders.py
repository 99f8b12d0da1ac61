"""The cluster folder that the launcher makes, and its removal; the logs and their removal."""

import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.as_user import preflight
from gateway.slurm.commands import SLURM_ENVIRONMENT
from gateway.slurm.launcher import folders
from tests.unit import fake_environments
from tests.unit.processes import NOBODY, as_user
from tests.unit.slurm.launcher.world import CLUSTER, LOG, SubmissionHost
from tests.unit.slurm.world import CANARY

NOW = 1_800_000_000


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.weakness(33)
def test_a_prepared_cluster_has_files_for_its_user_alone(setting):
    assert setting.prepare() == {"ok": True, "state": []}
    assert (mode(setting.staging), mode(setting.folder), mode(setting.logs / CLUSTER)) == (0o700, 0o700, 0o700)
    contents = {path.name: path.read_bytes() for path in setting.folder.iterdir()}
    for name in ("preflight.py", "preload.py", *preflight.COMPANIONS):
        assert contents.pop(name) == Path(preflight.__file__).with_name(name).read_bytes()
    assert contents == {"variables": f"MINE={CANARY}\0".encode(), "dask.pem": b"key\xff"}
    assert {mode(path) for path in setting.folder.iterdir()} == {0o600}


@pytest.mark.weakness(29)
def test_a_user_prepares_what_only_the_user_reads(shared_path, monkeypatch):
    setting = SubmissionHost(shared_path)
    setting.staging.parent.chmod(0o777)
    # Installed packages are readable for every user; a clone below a directory of mode 0700 is not.
    monkeypatch.setattr(folders, "PROGRAMS", shutil.copytree(folders.PROGRAMS, shared_path / "as_user"))

    def prepare():
        conda = fake_environments.script(shared_path / "own", "exit 0")
        conda.chmod(0o700)
        request = {"uid": os.getuid(), "gid": os.getgid()}
        return setting.prepare(plan=fake_environments.plan(shared_path, conda).encoded(), **request)

    assert as_user(prepare) == {"ok": True, "state": []}
    (staging,) = setting.staging.parent.iterdir()
    if os.getuid() == 0:
        assert (staging.stat().st_uid, (staging / CLUSTER / "variables").stat().st_uid) == (NOBODY, NOBODY)


@pytest.mark.weakness(26, 27)
def test_a_refused_environment_leaves_nothing(setting):
    setting.conda = setting.path / "absent"
    answer = setting.prepare()
    assert set(answer) == {"ok", "refusal"}
    assert "is not there, as SLURM workers see it" in answer["refusal"]
    assert not setting.staging.exists()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", ".x", "X", "a/b", "a" * 33, "a\n", "preflight.py"])
def test_a_file_of_another_name_leaves_nothing(setting, name):
    assert "error" in setting.prepare(files=setting.files(**{name: b""}))
    assert not setting.folder.exists()
    assert not (setting.logs / CLUSTER).exists()


def test_the_interpreter_is_started_with_the_users_variables_alone(setting):
    fake_environments.script(setting.path / "own", f"cat /proc/$$/environ >{setting.path}/seen")
    setting.prepare(plan=fake_environments.plan(setting.path, setting.path / "own").encoded())
    assert preflight.parsed((setting.path / "seen").read_bytes()) == {**SLURM_ENVIRONMENT, "MINE": CANARY}


def test_a_place_that_can_not_be_made_is_for_the_administrators(setting):
    setting.staging.parent.rmdir()
    answer = setting.prepare()
    assert f"The gateway needs {setting.staging} for your clusters" in answer["refusal"]
    assert "Ask the administrators" in answer["refusal"]


def test_a_cluster_is_prepared_once(setting):
    setting.prepare()
    assert "FileExistsError" in setting.prepare(files=setting.files(other=b""))["error"]
    assert not (setting.folder / "other").exists()


def test_the_state_of_an_environment_changes_with_its_packages(setting):
    packages = setting.conda / "lib/python3.11/site-packages"
    packages.mkdir(parents=True, exist_ok=True)
    state = setting.prepare()["state"]
    setting.answer("discard")
    assert setting.prepare()["state"] == state
    setting.answer("discard")
    (packages / "dask-1.dist-info").mkdir()
    assert setting.prepare()["state"] != state


def test_imports_are_those_of_the_environment(setting):
    setting.conda = fake_environments.environment(setting.path / "without-dask")
    setting.prepare()
    answer = setting.answer("imports", plan=setting.plan())
    assert answer["refusal"].startswith(f"The environment {setting.conda} lacks dask. Add it: conda install")
    setting.conda = fake_environments.complete(setting.path / "complete")
    assert setting.answer("imports", plan=setting.plan()) == {"ok": True}


def test_of_a_discarded_cluster_nothing_is_left(setting):
    setting.prepare()
    (setting.logs / CLUSTER / LOG).touch()
    for _ in range(2):
        assert setting.answer("discard") == {"ok": True}
    assert list(setting.staging.iterdir()) == [setting.logs]
    assert list(setting.logs.iterdir()) == []


@pytest.mark.weakness(23)
def test_logs_stay_when_their_cluster_is_gone(setting):
    setting.prepare()
    (setting.logs / CLUSTER / LOG).write_text("log")
    setting.cancel()
    assert (setting.logs / CLUSTER / LOG).read_text() == "log"


@pytest.mark.weakness(23)
def test_old_logs_are_forgotten_and_young_ones_kept(setting, monkeypatch):
    monkeypatch.setattr(folders, "time", SimpleNamespace(time=lambda: NOW))
    days = {"a" * 32: 13.9, "b" * 32: 14.1, "not-a-cluster": 100}
    for name, age in days.items():
        folder = setting.logs / name
        folder.mkdir(parents=True)
        (folder / LOG).touch()
        os.utime(folder, (0, NOW - age * folders.DAY_SECONDS))
    setting.prepare()
    assert {folder.name for folder in setting.logs.iterdir()} == {"a" * 32, "not-a-cluster", CLUSTER}


def test_logs_elsewhere_are_not_forgotten(setting):
    elsewhere = setting.path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    setting.logs.mkdir(parents=True)
    link = setting.logs / ("a" * 32)
    link.symlink_to(elsewhere)
    os.utime(link, (0, 0), follow_symlinks=False)
    setting.prepare()
    assert (elsewhere / "precious").exists()
