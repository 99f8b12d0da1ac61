import pytest

from gateway import site
from tests.infra.samples import load


@pytest.fixture(scope="session", params=["testbed", "geddes"])
def any_site(request: pytest.FixtureRequest) -> site.Site:
    return load(request.param)


@pytest.fixture(scope="session")
def testbed_site() -> site.Site:
    return load("testbed")


@pytest.fixture(scope="session")
def geddes_site() -> site.Site:
    return load("geddes")
