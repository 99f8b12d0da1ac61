"""A submission host on which the launcher acts as a user, in the account of the tests."""

import pytest

from tests.unit.slurm.launcher import hub
from tests.unit.slurm.launcher.world import GID, UID, SubmissionHost, know


@pytest.fixture
def setting(tmp_path, monkeypatch):
    know(monkeypatch, UID, GID)
    with hub.serving() as serving:
        yield SubmissionHost(tmp_path.resolve(), serving)
