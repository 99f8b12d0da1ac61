"""Test that the application listens on all its addresses, and logs the user and the source of each request."""

import asyncio
import logging
import signal
import socket
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from aiohttp import ClientSession, web

from gateway.identity.source import Proxies
from gateway.kubernetes.api.configuration import api_config
from gateway.service import middleware
from gateway.service.application import GatewayApplication
from tests.unit.service import held

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


@asynccontextmanager
async def running(gateway, direct, *further):
    """Run the application of a gateway at these ports of loopback."""
    application = GatewayApplication(
        address=f"127.0.0.1:{direct}",
        further_addresses=[f"127.0.0.1:{port}" for port in further],
        log=logging.getLogger("test-requests"),
    )
    application.authenticator = application.backend = Part()

    async def answer(request):
        request["user"] = SimpleNamespace(name="alice")
        return web.Response()

    proxies = Proxies(port=(further or (None,))[0])
    application.app = web.Application(middlewares=middleware.all_of(proxies, gateway))
    application.app.router.add_get("/", answer)
    try:
        await application.setup()
        yield
    finally:
        await application.cleanup()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)


@pytest.fixture
async def ports(testbed_site):
    direct, proxied = free_port(), free_port()
    async with running(testbed_site.kubernetes, direct, proxied):
        yield SimpleNamespace(direct=direct, proxied=proxied)


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


@pytest.mark.finding("R2")
async def test_a_restart_refuses_no_connection(testbed_site):
    """While no server runs, systemd holds the port: no other program can take it, and connections wait."""
    with socket.create_server(("127.0.0.1", 0)) as port:
        address = port.getsockname()
        with held.passed(port):
            async with (
                running(testbed_site.slurm, address[1]),
                ClientSession() as session,
                session.get(f"http://127.0.0.1:{address[1]}"),
            ):
                pass
        with pytest.raises(OSError, match="in use"):
            socket.create_server(address)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
        with held.passed(port):
            async with running(testbed_site.slurm, address[1]):
                assert await asyncio.wait_for(reader.readline(), 10) == b"HTTP/1.1 200 OK\r\n"
        writer.close()
