"""Test where Pulumi finds its provider."""

from pathlib import Path

import pytest

from testbed.toolchain import pulumi
from testbed.toolchain.programs import KIND_BUILD, Program
from testbed.toolchain.versions import Range


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    provider = tmp_path / "built"
    provider.mkdir()
    (provider / pulumi.PLUGIN_PROGRAM).touch()
    monkeypatch.setattr(pulumi, "HOME", tmp_path / "home")
    monkeypatch.setattr(pulumi, "STACK_STATE", tmp_path / "stacks")
    monkeypatch.setattr(pulumi, "_plugin", lambda: provider)
    monkeypatch.setattr(pulumi, "_bundle", lambda: tmp_path / "bundle")
    absent = Program("no-such-pulumi", ("version",), Range((1, 0, 0), (2, 0, 0)), KIND_BUILD)
    monkeypatch.setattr(pulumi, "PULUMI", absent)
    return tmp_path / "home"


def _check(home: Path, provider: Path) -> None:
    directory = home / "plugins" / pulumi.PLUGIN
    assert directory.is_dir()
    assert not directory.is_symlink(), "Pulumi does not look into linked directories"
    assert (directory / pulumi.PLUGIN_PROGRAM).readlink() == provider / pulumi.PLUGIN_PROGRAM


def test_the_provider_is_in_a_real_directory(home: Path, tmp_path: Path) -> None:
    pulumi.ensure()
    _check(home, tmp_path / "built")
    pulumi.ensure()
    _check(home, tmp_path / "built")


def test_a_linked_directory_and_an_old_link_are_replaced(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = home / "plugins" / pulumi.PLUGIN
    directory.parent.mkdir(parents=True)
    directory.symlink_to(tmp_path / "built")
    pulumi.ensure()
    _check(home, tmp_path / "built")
    assert (tmp_path / "built" / pulumi.PLUGIN_PROGRAM).is_file(), "the cached program itself stays"
    newer = tmp_path / "newer"
    newer.mkdir()
    monkeypatch.setattr(pulumi, "_plugin", lambda: newer)
    pulumi.ensure()
    _check(home, newer)


def test_the_command_directory_comes_first_on_path(home: Path, tmp_path: Path) -> None:
    environment = pulumi.environment()
    assert environment["PATH"].split(":")[0] == str(tmp_path / "bundle")
    assert environment["PULUMI_HOME"] == str(home)
    assert environment["PULUMI_BACKEND_URL"] == f"file://{tmp_path}/stacks"
