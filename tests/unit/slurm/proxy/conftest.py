"""The real Traefik, with the role's static configuration, on ports that the test holds as systemd does."""

import json
import os
import socket
import ssl
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from gateway.site import Site
from gateway.slurm.proxy import route_file
from tests.unit.sources import ROOT

ROLE = ROOT / "ansible" / "roles" / "gateway"
TRAEFIK = Path(sysconfig.get_path("scripts")) / "traefik"
VARIABLES = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
READ_SECONDS = 2
START_SECONDS = 30
FIRST_DESCRIPTOR = 3
"""The descriptor that systemd gives a service first (sd_listen_fds)."""
NAMES = (VARIABLES["gateway_proxy_entry_point"], VARIABLES["gateway_proxy_ingress_entry_point"])
START = 'LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES="$1" exec "$2" "--configFile=$3"'


def rendered(template: str, site: dict[str, Any], **variables: Any) -> str:
    """Return a file of the role, rendered as Ansible does."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters["basename"] = os.path.basename
    text = (ROLE / "templates" / template).read_text()
    return environment.from_string(text).render(site=site, ansible_managed="", **{**VARIABLES, **variables})


@dataclass(frozen=True)
class Front:
    """A Traefik that runs."""

    port: int
    ingress_port: int
    routes: Path
    log: Path

    def of_ingress(self) -> "Front":
        """Return the same Traefik, seen from its port for the ingress controller."""
        return replace(self, port=self.ingress_port)

    def serve(self, configuration: dict[str, Any]) -> None:
        """Replace the routes as the server does."""
        route_file._replace(self.routes, json.dumps(configuration))

    def connect(self, server_name: str | None = None) -> socket.socket:
        """Return a connection, with TLS if a server name is given. Certificates are not checked."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=START_SECONDS)
        if server_name is None:
            return plain
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(plain, server_hostname=server_name)

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Return status and body of the answer to a request."""
        lines = [f"GET {path} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items())]
        with self.connect() as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            answer = connection.makefile("rb").read().decode()
        return int(answer.split()[1]), answer.partition("\r\n\r\n")[2]

    def await_path(self, path: str) -> None:
        """Return when Traefik has a route for a path."""
        end = time.monotonic() + START_SECONDS
        while self.get(path, Host="gateway")[0] == 404:
            assert time.monotonic() < end, self.log.read_text()[:4000]
            time.sleep(0.02)


@pytest.fixture
def trusted_proxies() -> list[str]:
    """The site's key; a test may replace it."""
    return ["192.0.2.0/24"]


@pytest.fixture
def front(tmp_path: Path, testbed_site: Site, trusted_proxies: list[str]) -> Iterator[Front]:
    """Traefik of the testbed's site."""
    data = testbed_site.model_dump(mode="json")
    data["slurm"]["trusted_proxies"] = trusted_proxies
    with running(tmp_path, Site.model_validate(data)) as found:
        yield found


@contextmanager
def running(tmp_path: Path, of_site: Site) -> Iterator[Front]:
    """Run Traefik with the static configuration of a site; its files are in the given directory."""
    routes, static, log = tmp_path / "routes.yml", tmp_path / "traefik.yml", tmp_path / "log"
    routes.write_text("{}")
    site = of_site.model_dump(mode="json")
    site["slurm"]["routes_file"] = str(routes)
    static.write_text(rendered("traefik.yml.j2", site, gateway_proxy_read_seconds=READ_SECONDS))
    with (
        socket.create_server(("127.0.0.1", 0)) as port,
        socket.create_server(("127.0.0.1", 0)) as ingress_port,
        log.open("wb") as output,
    ):
        process = subprocess.Popen(
            ["sh", "-c", START, "sh", ":".join(NAMES), TRAEFIK, static],
            env={"HOME": str(tmp_path / "home")},
            stdout=output,
            stderr=output,
            preexec_fn=lambda: _hand_over(port, ingress_port),  # noqa: PLW1509 - no threads run yet
            close_fds=False,
        )
        try:
            yield Front(port.getsockname()[1], ingress_port.getsockname()[1], routes, log)
        finally:
            process.kill()
            process.wait()


def _hand_over(*sockets: socket.socket) -> None:
    # A socket's own descriptor may be one of those that systemd uses.
    copies = [os.dup(each.fileno()) for each in sockets]
    for number, copy in enumerate(copies, FIRST_DESCRIPTOR):
        os.dup2(copy, number)
