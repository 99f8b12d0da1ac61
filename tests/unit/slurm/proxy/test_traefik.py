"""Run the real Traefik with the role's static configuration and the server's routes."""

import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from gateway.as_user import dashboard_guard
from gateway.service.tls import new_keypair
from gateway.slurm.proxy import configuration
from gateway.slurm.proxy.addresses import Address
from gateway.slurm.proxy.configuration import Targets, dynamic_configuration
from tests.unit.slurm.proxy.conftest import Front, rendered

NAME = "1" * 32
SNI = f"daskgateway-{NAME}"
PAIR = new_keypair("traefik")
HALF = {
    "nothing": b"",
    "half a ClientHello": bytes.fromhex("16030100c8010000c40303"),
    "half the headers": b"GET /api/health HTTP/1.1\r\nHost: gateway\r\n",
}


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers each request with its path; ``/api/late`` when the test says so.

    As the server, it refuses the dashboard to visitors with the token "bob".
    """

    late = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/api/late":
            self.late.wait(30)
        is_bob = self.path == "/dashboards/authorize" and self.headers["Authorization"] == "token bob"
        self.send_response(403 if is_bob else 200)
        self.end_headers()
        self.wfile.write(f"{self.path} of {self.headers['Host']}".encode())
        for name in ("Authorization", "Cookie"):
            if name in self.headers:
                self.wfile.write(f" with {name}".encode())
        if self.path == "/api/source":
            self.wfile.write(f" for {self.headers['X-Forwarded-For']}".encode())
        if self.headers[dashboard_guard.HEADER] == "secret":
            self.wfile.write(b" by the proxy")

    def log_message(self, *_) -> None:
        """Print nothing."""


@contextmanager
def in_thread(server: http.server.HTTPServer) -> Iterator[int]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def pages() -> Iterator[int]:
    Pages.late.clear()
    with in_thread(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)) as port:
        yield port
        Pages.late.set()


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[int]:
    """A TLS server in place of a scheduler; it speaks HTTP too."""
    pair = tmp_path / "pair.pem"
    pair.write_bytes(b"".join(new_keypair(NAME)))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with in_thread(server) as port:
        yield port


@pytest.fixture
def served(front: Front, pages: int, scheduler: int) -> Front:
    """Traefik with the routes of the API server and of one cluster."""
    targets = Targets(Address("127.0.0.1", scheduler), Address("127.0.0.1", pages), "secret")
    front.serve(dynamic_configuration(f"http://127.0.0.1:{pages}", {NAME: targets}, PAIR))
    front.await_path(f"/clusters/{NAME}/status")
    return front


def ask(connection: socket.socket) -> bytes:
    connection.sendall(b"GET /scheduler HTTP/1.0\r\n\r\n")
    return connection.makefile("rb").read()


def test_one_port_carries_the_api_the_dashboards_and_the_schedulers(served):
    assert served.get("/api/health?token=sesame", Host="gateway", Authorization="token s3cret")[1].startswith("/api/")
    assert served.get(f"/clusters/{NAME}/status", Host="gateway") == (200, "/status of gateway by the proxy")
    for unknown in ("/", "/api", f"/clusters/{'2' * 32}/status", f"/clusters/{NAME}0/status", "/dashboard/"):
        assert served.get(unknown, Host="gateway")[0] == 404
    with served.connect(SNI) as connection:
        assert b"/scheduler" in ask(connection)
    log = served.log.read_text()
    assert '"RequestPath":"/api/health"' in log
    assert "sesame" not in log
    assert "s3cret" not in log


@pytest.mark.finding("R5")
def test_a_dashboard_opens_to_visitors_whom_the_server_admits_and_gets_no_credential(served):
    page = f"/clusters/{NAME}/status"
    status, text = served.get(page, Host="gateway", Authorization="token bob")
    assert (status, text) == (403, "/dashboards/authorize of " + text.rpartition(" of ")[2])
    headers = {"Authorization": "token alice", "Cookie": "dask-dashboard=x", dashboard_guard.HEADER: "made-up"}
    assert served.get(page, Host="gateway", **headers) == (200, "/status of gateway by the proxy")


@pytest.mark.finding("R10")
@pytest.mark.parametrize(
    ("trusted_proxies", "source"),
    [(["192.0.2.0/24"], "127.0.0.1"), (["192.0.2.0/24", "127.0.0.1/32"], "198.51.100.1, 127.0.0.1")],
)
def test_traefik_believes_the_trusted_proxies_of_the_site_at_their_port_alone(served, source):
    headers = {"X-Forwarded-For": "198.51.100.1"}
    assert served.of_ingress().get("/api/source", Host="gateway", **headers)[1].endswith(f" for {source}")
    assert served.get("/api/source", Host="gateway", **headers)[1].endswith(" for 127.0.0.1")


@pytest.mark.parametrize("name", [f"daskgateway-{'2' * 32}", "gateway"])
def test_unknown_server_names_get_no_certificate(served, name):
    with pytest.raises(OSError, match=r"reset|EOF"):
        served.connect(name)


def test_half_open_connections_end_and_a_late_answer_does_not(served):
    with ExitStack() as stack:
        late = stack.enter_context(served.connect())
        late.sendall(b"GET /api/late HTTP/1.0\r\nHost: gateway\r\n\r\n")
        tls = stack.enter_context(served.connect(SNI))
        for begun in HALF.values():
            half = stack.enter_context(served.connect())
            half.sendall(begun)
            assert half.recv(1) == b"", "Traefik closes it within the connection's timeout"
        Pages.late.set()
        assert b"/api/late" in late.makefile("rb").read()
        assert b"/scheduler" in ask(tls)


def test_each_source_is_bounded_and_host_names_do_not_multiply_it(front, pages, scheduler, monkeypatch):
    monkeypatch.setattr(configuration, "MOST_REQUESTS", 2)
    monkeypatch.setattr(configuration, "MOST_CONNECTIONS", 2)
    targets = Targets(Address("127.0.0.1", scheduler), Address("127.0.0.1", pages))
    front.serve(dynamic_configuration(f"http://127.0.0.1:{pages}", {NAME: targets}, PAIR))
    front.await_path(f"/clusters/{NAME}/status")
    with ExitStack() as stack:
        held = [stack.enter_context(front.connect(SNI)) for _ in range(2)]
        with pytest.raises(OSError, match=r"reset|EOF"):
            front.connect(SNI)
        assert b"/scheduler" in ask(held[0])
        waiting = [stack.enter_context(front.connect()) for _ in range(3)]
        for number, connection in enumerate(waiting):
            connection.sendall(f"GET /api/late HTTP/1.0\r\nHost: host{number}\r\n\r\n".encode())
        first = {connection: connection.makefile("rb") for connection in waiting}
        refused = [connection for connection in waiting if _is_answered(connection)]
        assert [first[connection].readline().split()[1] for connection in refused] == [b"429"]
        Pages.late.set()


def _is_answered(connection: socket.socket) -> bool:
    connection.settimeout(1)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False


def test_routes_that_go_cut_no_connection(served, pages):
    with served.connect(SNI) as connection:
        served.serve(dynamic_configuration(f"http://127.0.0.1:{pages}", {}, PAIR))
        while served.get(f"/clusters/{NAME}/status", Host="gateway")[0] != 404:
            pass
        assert b"/scheduler" in ask(connection)


def test_static_configuration_has_neither_api_nor_telemetry(testbed_site, geddes_site):
    static = yaml.safe_load(rendered("traefik.yml.j2", testbed_site.model_dump(mode="json")))
    assert not {"api", "ping", "metrics", "tracing", "experimental"} & set(static)
    assert static["global"] == {"checkNewVersion": False, "sendAnonymousUsage": False}
    assert list(static["entryPoints"]) == ["gateway", "ingress"]
    plain = yaml.safe_load(rendered("traefik.yml.j2", geddes_site.model_dump(mode="json")))
    assert list(plain["entryPoints"]) == ["gateway"]
