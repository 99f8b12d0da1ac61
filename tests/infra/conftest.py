import pytest

from gateway import site
from tests.infra.recorder import Manifests, render
from tests.infra.samples import load, settings_of


@pytest.fixture(scope="session", params=["testbed", "geddes"])
def any_site(request: pytest.FixtureRequest) -> site.Site:
    return load(request.param)


@pytest.fixture(scope="session")
def testbed_site() -> site.Site:
    return load("testbed")


@pytest.fixture(scope="session")
def geddes_site() -> site.Site:
    return load("geddes")


@pytest.fixture(scope="session")
def manifests(any_site: site.Site) -> Manifests:
    return render(settings_of(any_site))


@pytest.fixture(scope="session")
def testbed(testbed_site: site.Site) -> Manifests:
    return render(settings_of(testbed_site))


@pytest.fixture(scope="session")
def geddes(geddes_site: site.Site) -> Manifests:
    return render(settings_of(geddes_site))
