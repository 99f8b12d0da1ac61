"""The cluster folder that the launcher makes, and its removal; the logs and their removal."""

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.as_user import preflight
from gateway.slurm.launcher import folders
from tests.unit.processes import NOBODY
from tests.unit.slurm.launcher.world import CLUSTER, LOG
from tests.unit.slurm.world import CANARY

NOW = 1_800_000_000


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.weakness(33)
def test_a_prepared_cluster_has_files_for_its_user_alone(setting):
    assert setting.prepare() == {"ok": True}
    assert (mode(setting.staging), mode(setting.folder), mode(setting.logs / CLUSTER)) == (0o700, 0o700, 0o700)
    contents = {path.name: path.read_bytes() for path in setting.folder.iterdir()}
    for name in ("preflight.py", "preload.py", *preflight.COMPANIONS):
        assert contents.pop(name) == Path(preflight.__file__).with_name(name).read_bytes()
    assert contents == {"variables": f"MINE={CANARY}\0".encode(), "dask.pem": b"key\xff"}
    assert {mode(path) for path in setting.folder.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", ".x", "X", "a/b", "a" * 33, "a\n", "preflight.py"])
def test_a_file_of_another_name_leaves_nothing(setting, name):
    assert "error" in setting.prepare(files=setting.files(**{name: b""}))
    assert not setting.folder.exists()
    assert not (setting.logs / CLUSTER).exists()


def test_a_place_that_can_not_be_made_is_for_the_administrators(setting):
    setting.staging.parent.rmdir()
    answer = setting.prepare()
    assert f"The gateway needs {setting.staging} for your clusters" in answer["refusal"]
    assert "Ask the administrators" in answer["refusal"]


@pytest.mark.finding("R10")
@pytest.mark.parametrize("kind", ["link", "file", "another account's"])
def test_a_place_of_somebody_else_is_not_taken(setting, kind):
    elsewhere = setting.path / "elsewhere"
    elsewhere.mkdir()
    if kind == "link":
        setting.staging.symlink_to(elsewhere)
    elif kind == "file":
        setting.staging.touch()
    else:
        if os.getuid() != 0:
            pytest.skip("only root gives directories away")
        setting.staging.mkdir()
        os.chown(setting.staging, NOBODY, NOBODY)
    assert f"The gateway needs {setting.staging} for your clusters" in setting.prepare()["refusal"]
    assert list(elsewhere.iterdir()) == []


@pytest.mark.finding("R10")
def test_a_place_that_others_could_enter_is_closed(setting):
    setting.staging.mkdir(mode=0o777)
    setting.staging.chmod(0o777)
    assert setting.prepare() == {"ok": True}
    assert mode(setting.staging) == 0o700


def test_a_cluster_is_prepared_once(setting):
    setting.prepare()
    assert "FileExistsError" in setting.prepare(files=setting.files(other=b""))["error"]
    assert not (setting.folder / "other").exists()


def test_of_a_discarded_cluster_nothing_is_left(setting):
    setting.prepare()
    (setting.logs / CLUSTER / LOG).touch()
    for _ in range(2):
        assert setting.answer("discard") == {"ok": True}
        assert setting.called("scancel").arguments == ["4711", "4712"]
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
