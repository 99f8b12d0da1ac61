"""Test that the application listens on all its addresses, and logs the user and the source of each request."""

import asyncio
import logging
import signal
import socket
from types import SimpleNamespace

import pytest
from aiohttp import ClientSession, web

from gateway.identity.source import Proxies
from gateway.kubernetes.api.configuration import api_config
from gateway.service import middleware
from gateway.service.application import GatewayApplication

pytestmark = pytest.mark.filterwarnings("ignore::aiohttp.web.NotAppKeyWarning")


class Part:
    """Stands for the authenticator and the back end, which need systems that are not here."""

    async def setup(self, app):
        pass

    async def cleanup(self):
        pass


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
async def ports(testbed_site):
    direct, proxied = free_port(), free_port()
    application = GatewayApplication(
        address=f"127.0.0.1:{direct}",
        further_addresses=[f"127.0.0.1:{proxied}"],
        log=logging.getLogger("test-requests"),
    )
    application.authenticator = application.backend = Part()

    async def answer(request):
        request["user"] = SimpleNamespace(name="alice")
        return web.Response()

    application.app = web.Application(middlewares=middleware.all_of(Proxies(port=proxied), testbed_site.kubernetes))
    application.app.router.add_get("/", answer)
    await application.setup()
    try:
        yield SimpleNamespace(direct=direct, proxied=proxied)
    finally:
        await application.cleanup()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)


@pytest.mark.finding("R10")
async def test_a_request_is_logged_with_its_user_and_source(ports, caplog):
    caplog.set_level(logging.INFO, "test-requests")
    async with ClientSession() as session:
        for port in (ports.direct, ports.proxied):
            headers = {"X-Forwarded-For": "198.51.100.1, 192.0.2.7"}
            async with session.get(f"http://127.0.0.1:{port}/?a=1", headers=headers) as response:
                assert response.status == 200
    lines = [text for record in caplog.records if (text := record.getMessage()).startswith("200 GET")]
    assert [line.partition("ms ")[2] for line in lines] == [
        "user=alice source=127.0.0.1",
        "user=alice source=192.0.2.7",
    ]


def test_the_api_listens_for_its_proxy_on_a_port_of_its_own(testbed_site):
    application = GatewayApplication(config=api_config(testbed_site))
    assert application.address == ":8000"
    assert application.further_addresses == [f":{testbed_site.kubernetes.proxied_api_port}"]
