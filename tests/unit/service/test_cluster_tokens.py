"""Test that requests with wrong tokens of clusters reach the back end a bounded number of times."""

from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from dask_gateway_server.routes import api_handler

from gateway.identity.source import Proxies
from gateway.service import middleware

REPORT = "/api/v1/clusters/{}/heartbeat"
pytestmark = [pytest.mark.finding("R4g"), pytest.mark.filterwarnings("ignore::aiohttp.web.NotAppKeyWarning")]


@pytest.fixture
async def send(testbed_site):
    """A function that sends a report with a token. Its list ``asked`` has the names of which the back end was asked."""
    asked = []

    async def get_cluster(name):
        asked.append(name)
        return SimpleNamespace(token="right") if name == "a1" else None

    async def answer(_):
        return web.Response()

    app = web.Application(middlewares=middleware.all_of(Proxies(), testbed_site.slurm))
    app["backend"] = SimpleNamespace(get_cluster=get_cluster)
    app.router.add_post(REPORT.format("{cluster_name}"), api_handler(answer, token_authenticated=True))
    async with TestClient(TestServer(app)) as client:

        async def sent(cluster, token):
            headers = {"Authorization": f"token {token}"}
            async with client.post(REPORT.format(cluster), headers=headers, json={}) as response:
                return response.status

        sent.asked = asked
        yield sent


async def test_wrong_tokens_reach_the_back_end_a_bounded_number_of_times(send):
    assert await send("a1", "right") == 200
    statuses = [await send(f"x{number}", "wrong") for number in range(60)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert len(send.asked) <= 1 + middleware.CLUSTER_TOKENS.attempts + 2
    assert [await send("a1", "right") for _ in range(30)] == [200] * 30


async def test_the_same_wrong_token_reaches_it_once(send):
    assert [await send("a1", "wrong") for _ in range(5)] == [401] * 5
    assert send.asked == ["a1"]
