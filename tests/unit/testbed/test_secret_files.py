"""Test that secrets are files that only their owner can read, made once."""

import stat
from pathlib import Path

import pytest

from testbed import secret_files


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(secret_files, "SECRETS", tmp_path / "secrets")
    return tmp_path / "secrets"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_reads_it(directory: Path) -> None:
    path, _ = secret_files.ensure("passwords/alice", octets=12)
    assert (mode(path), mode(path.parent), mode(directory)) == (0o600, 0o700, 0o700)
    assert len(bytes.fromhex(path.read_text())) == 12


def test_it_is_made_once(directory: Path) -> None:
    path, new = secret_files.ensure("token")
    assert new
    text = path.read_text()
    assert secret_files.ensure("token") == (path, False)
    assert path.read_text() == text


def test_an_empty_one_is_made_again(directory: Path) -> None:
    directory.mkdir()
    (directory / "token").touch()
    path, new = secret_files.ensure("token")
    assert new
    assert path.read_text()


def test_writing_replaces_it_with_the_same_mode(directory: Path) -> None:
    path, _ = secret_files.ensure("token")
    path.chmod(0o644)
    secret_files.write(path, "another")
    assert (path.read_text(), mode(path)) == ("another", 0o600)
