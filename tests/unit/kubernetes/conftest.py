import pytest

from tests.unit.kubernetes.world import World


@pytest.fixture
async def world(testbed_site):
    return World(testbed_site)
