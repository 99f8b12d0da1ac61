"""A submission host on which the launcher runs as a user."""

import pytest

from tests.unit.slurm.launcher.world import GID, UID, SubmissionHost, become


@pytest.fixture
def setting(tmp_path, monkeypatch):
    become(monkeypatch, UID, GID)
    return SubmissionHost(tmp_path.resolve())
