"""Which paths are a cluster's dashboard, and where a login can lead."""

from urllib.parse import parse_qs, unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.service.dashboards import addresses
from gateway.site import Backend
from tests.unit.hostile import many

pytestmark = pytest.mark.finding("R5")

PIECES = st.sampled_from(
    [
        *("/", "//", "\\"),
        *("..", ".", "%2e", "%252e", "%2f", "%5c", "?", "#", ";", "%23", "@", ":", "http:", "evil.org"),
        *("clusters", "cms.a", "b", "A", "\n", "\r\n", "\0", "é", " ", "%00", "%c3"),
    ]
)
PATHS = st.one_of(
    st.text(),
    st.lists(PIECES).map("".join),
    st.lists(PIECES).map(lambda pieces: f"/clusters/cms.a/{''.join(pieces)}"),
)


@pytest.mark.parametrize(
    ("path", "cluster"),
    [
        ("/clusters/cms.a/status", "cms.a"),
        ("/clusters/cms.a/", "cms.a"),
        ("/clusters/cms.a/status/ws?x=/../y", "cms.a"),
        ("/clusters/0f3a/individual-plots.json", "0f3a"),
        ("/clusters/cms.a/info/main/workers.html", "cms.a"),
    ],
)
def test_a_dashboards_path_names_its_cluster(path, cluster):
    assert addresses.cluster_of(path) == cluster


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/clusters/cms.a",
        "/clusters//status",
        "//evil.org/clusters/cms.a/",
        "/clusters/cms.a/../cms.b/status",
        "/clusters/cms.a/%2e%2e/cms.b/status",
        "/clusters/cms.a/..%2fcms.b/status",
        "/clusters/cms.a/%252e%252e/cms.b/status",
        "/clusters/cms.a/..\\cms.b/status",
        "/clusters/cms.a/..;/cms.b/status",
        "/clusters/cms.a/..#",
        "/clusters/%63ms.a/status",
        "/clusters/../status",
        "/clusters/cms.A/status",
        "/clusters/cms.a/\nx",
        f"/clusters/{'a' * 129}/status",
        "http://evil.org/clusters/cms.a/",
    ],
)
def test_other_paths_name_none(path):
    assert addresses.cluster_of(path) is None


@many
@given(PATHS)
def test_a_path_leads_to_the_cluster_that_it_names_and_never_to_another_host(path):
    cluster = addresses.cluster_of(path)
    if cluster is None:
        return
    begin = "http://gateway"
    for read in (path, unquote(path.partition("?")[0])):
        target = urlsplit(urljoin(f"{begin}/dashboards/callback", addresses.return_path(read, cluster)))
        assert (target.scheme, target.netloc) == ("http", "gateway")
        assert target.path.startswith(f"/clusters/{cluster}/")


def test_a_long_path_is_replaced_by_the_first_page():
    assert addresses.return_path(f"/clusters/cms.a/{'x' * 2000}", "cms.a") == "/clusters/cms.a/status"


@pytest.mark.parametrize("backend", Backend)
def test_a_login_begins_at_the_hub_and_ends_at_the_gateway(testbed_site, backend):
    address = urlsplit(addresses.login_address(testbed_site, backend, "a.state"))
    gateway, query = testbed_site.gateway(backend), parse_qs(address.query)
    assert f"{address.scheme}://{address.netloc}{address.path}" == (
        f"{testbed_site.identity.hub.public_url}/api/oauth2/authorize"
    )
    assert query["redirect_uri"] == [f"{gateway.address}/dashboards/callback"]
    assert query["client_id"] == [f"service-{gateway.hub_service}"]
    assert query["state"] == ["a.state"]


def test_each_gateway_is_a_client_of_its_own(testbed_site, geddes_site):
    for site in (testbed_site, geddes_site):
        clients = [addresses.client_of(site, backend) for backend in Backend]
        assert len({client.identifier for client in clients}) == len({client.callback for client in clients}) == 2
