"""Test which requests by plain HTTP the gateway serves, and that the stock client keeps its token to itself."""

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from dask_gateway import Gateway
from dask_gateway.auth import JupyterHubAuth

from gateway.identity.source import Proxies
from gateway.service import middleware
from gateway.site import Backend
from tests.unit.sites import with_tls

pytestmark = pytest.mark.finding("R7")

LISTED, OTHER = "192.0.2.7", "198.51.100.1"
ADDRESS = "https://dask-gateway-k8s-slurm.geddes.rcac.purdue.edu"
BROWSER = {"Accept": "text/html,application/xhtml+xml"}
API, DASHBOARD = "/api/v1/clusters/", "/clusters/1f2e/status?x=1"


def application(site, seen):
    async def answer(request):
        seen.append(request.headers.get("Authorization"))
        return web.json_response(
            {}, status=401 if seen[-1] is None else 200, headers={"WWW-Authenticate": "jupyterhub"}
        )

    trusted = Proxies(site.slurm.trusted_proxies)
    app = web.Application(middlewares=middleware.all_of(trusted, site.slurm))
    app.router.add_route("*", "/{path:.*}", answer)
    return app


@pytest.fixture
async def ask(testbed_site):
    """A function that asks a gateway with certificates, through Traefik, and returns the answer with its text."""
    site = with_tls(testbed_site, Backend.SLURM, trusted=("127.0.0.0/8",), plain_http_networks=["192.0.2.0/24"])
    async with TestClient(TestServer(application(site, []))) as client:

        async def asked(path, source=OTHER, scheme="http", **headers):
            forwarded = {"X-Forwarded-For": source, "Authorization": "jupyterhub t"}
            scheme_header = {"X-Forwarded-Proto": scheme} if scheme else {}
            headers = {**forwarded, **scheme_header, **headers}
            async with client.get(path, headers=headers, allow_redirects=False) as response:
                await response.read()
                return response

        yield asked


@pytest.mark.parametrize("path", [API, DASHBOARD, "/anything"])
@pytest.mark.parametrize("scheme", ["https", "wss", None])
async def test_https_and_requests_past_traefik_are_served(ask, path, scheme):
    assert (await ask(path, scheme=scheme, **BROWSER)).status == 200


@pytest.mark.parametrize("path", [API, DASHBOARD, "/dashboards/callback?code=c&state=s"])
async def test_browsers_are_sent_to_the_same_page_by_https(ask, path):
    answer = await ask(path, **BROWSER)
    assert (answer.status, answer.headers["Location"]) == (302, f"{ADDRESS}{path}")


@pytest.mark.parametrize("path", [API, DASHBOARD])
@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_programs_get_advice_in_place_of_a_redirect(ask, path, scheme):
    answer = await ask(path, scheme=scheme)
    assert answer.status == 422
    assert f"use its address {ADDRESS} in place" in (await answer.json())["error"]


async def test_listed_networks_reach_the_api_and_no_dashboard(ask):
    assert (await ask(API, source=LISTED)).status == 200
    assert (await ask(API, source=f"{LISTED}, {OTHER}")).status == 422
    assert (await ask(API, source="made up")).status == 422
    assert (await ask(DASHBOARD, source=LISTED)).status == 422


async def test_jobs_probes_and_traefik_are_served(ask):
    assert (await ask(f"{API}1f2e/heartbeat", Authorization="token of-the-cluster")).status == 200
    assert (await ask("/api/health")).status == 200
    assert (await ask("/dashboards/authorize")).status == 200
    assert (await ask(DASHBOARD, Authorization="token of-a-user")).status == 422


async def test_the_stock_client_shows_the_advice_and_never_sends_its_token(testbed_site):
    seen = []
    site = with_tls(testbed_site, Backend.SLURM, trusted=("127.0.0.0/8",))
    async with TestServer(application(site, seen)) as server:
        gateway = Gateway(str(server.make_url("")), asynchronous=True, auth=JupyterHubAuth(api_token="secret"))
        gateway._session = ClientSession(headers={"X-Forwarded-Proto": "http"})
        async with gateway:
            with pytest.raises(ValueError, match=f"use its address {ADDRESS}"):
                await gateway.list_clusters()
    assert seen == []


async def test_a_site_without_certificates_serves_plain_http(geddes_site):
    async with TestClient(TestServer(application(geddes_site, []))) as client:
        headers = {"X-Forwarded-Proto": "http", "Authorization": "jupyterhub t", **BROWSER}
        for path in (API, DASHBOARD):
            async with client.get(path, headers=headers) as response:
                assert response.status == 200
