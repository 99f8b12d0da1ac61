"""A submission host on which the launcher acts as a user, in the account of the tests."""

import pytest

from tests.unit.slurm.launcher.world import GID, UID, SubmissionHost, know


@pytest.fixture
def setting(tmp_path, monkeypatch):
    know(monkeypatch, UID, GID)
    return SubmissionHost(tmp_path.resolve())
