import pytest

from tests.unit.identity.samples import RecordingDirectory


@pytest.fixture
def recorder():
    return RecordingDirectory()
