"""Tokens cross the network encrypted: certificates of both addresses, and what plain HTTP still answers."""

import json
import socket
import ssl

import pytest
import requests

from gateway.site import Backend
from release import process
from testbed import docker, submission
from testbed.certificates import certificate_authority
from testbed.public_names import ADDRESS
from tests.e2e import notebooks
from tests.e2e.back_ends import on_kubernetes, on_slurm
from tests.e2e.fetching import fetch
from tests.e2e.machines import SETTINGS
from tests.e2e.notebooks import CellError

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.finding("R7")]

SECONDS = 15
SLURM = SETTINGS.slurm
PORTS = [
    (Backend.KUBERNETES, SETTINGS.kubernetes.host, 443),
    (Backend.SLURM, SLURM.host, 443),
    (Backend.SLURM, SLURM.host, SLURM.proxy_port),
    (Backend.SLURM, SLURM.proxy_host, SLURM.proxy_port),
]
ADVICE = "use its address https://"


def certificate_of(name: str, port: int, context: ssl.SSLContext) -> bytes:
    """Return the certificate of a public name's port. Raises ``ssl.SSLCertVerificationError`` if it is not trusted."""
    with (
        socket.create_connection((ADDRESS, port), timeout=SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        return connection.getpeercert(binary_form=True) or b""


def ask_plainly(path: str, **headers: str) -> requests.Response:
    """Return what the Kubernetes gateway answers by plain HTTP. Its site lists no network that may use it."""
    headers["Host"] = SETTINGS.kubernetes.host
    return requests.get(f"http://{ADDRESS}{path}", headers=headers, timeout=SECONDS, allow_redirects=False)


@pytest.mark.parametrize(("backend", "name", "port"), PORTS, indirect=["backend"], scope="session")
def test_the_certificate_verifies(backend: Backend, name: str, port: int) -> None:
    assert certificate_of(name, port, ssl.create_default_context(cafile=certificate_authority()))
    with pytest.raises(ssl.SSLCertVerificationError):
        certificate_of(name, port, ssl.create_default_context())


def test_the_api_answers_by_https(backend: Backend) -> None:
    address = SETTINGS.gateway(backend).address
    assert address.startswith("https://")
    assert fetch(f"{address}/api/version")[0] == 200


@on_kubernetes
@pytest.mark.parametrize("path", ["/clusters/cms.made-up/status?x=1", "/api/version"])
def test_plain_http_sends_browsers_to_https(backend: Backend, path: str) -> None:
    answer = ask_plainly(path, Accept="text/html,application/xhtml+xml")
    expected = f"{SETTINGS.kubernetes.address}{path}"
    assert (answer.status_code, answer.headers.get("Location")) == (302, expected), answer.text[:300]


@on_kubernetes
@pytest.mark.parametrize("path", ["/clusters/cms.made-up/status", "/api/version", "/api/v1/clusters/"])
@pytest.mark.parametrize("claimed", [{}, {"X-Forwarded-Proto": "https"}], ids=["plain", "claimed"])
def test_plain_http_gives_programs_advice_alone(backend: Backend, path: str, claimed: dict[str, str]) -> None:
    answer = ask_plainly(path, **claimed)
    assert answer.status_code == 422, answer.text[:300]
    assert ADVICE in answer.json()["error"]


@on_kubernetes
def test_the_client_uses_https_and_shows_the_advice_for_http(backend: Backend) -> None:
    with notebooks.connected("alice", backend) as alice:
        assert alice.run("gateway.address") == SETTINGS.kubernetes.address
        alice.run(f"plain = Gateway('http://{SETTINGS.kubernetes.host}')")
        with pytest.raises(CellError) as refused:
            alice.run("plain.list_clusters()")
    assert (refused.value.name, ADVICE in refused.value.message) == ("ValueError", True)


@on_slurm
def test_the_guides_plain_address_goes_on_working(backend: Backend) -> None:
    with notebooks.connected("alice", backend) as alice:
        assert alice.run("gateway.address") == f"http://{SLURM.host}"
        assert isinstance(alice.run("[report.name for report in gateway.list_clusters()]"), list)


@on_slurm
def test_clients_of_the_schedulers_port_are_not_believed(backend: Backend) -> None:
    """They may come from the address of a node, as the ingress controller does."""
    address = f"http://{SLURM.proxy_host}:{SLURM.proxy_port}/clusters/{'2' * 32}/status"
    status, text = fetch(address, {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"})
    assert (status, ADVICE in text) == (422, True), text[:300]


@on_slurm
def test_the_way_from_the_ingress_to_the_submission_host_is_encrypted(backend: Backend) -> None:
    path = "/api/health?of=tls"
    assert fetch(f"{SLURM.address}{path}")[0] == 200
    unit = ["journalctl", "--no-pager", "--output=cat", "--unit", "dask-gateway-proxy", "--since", "-1min"]
    lines = [line for line in docker.execute(submission.CONTAINER, unit).splitlines() if line.startswith("{")]
    routers = {entry.get("RouterName") for entry in map(json.loads, lines) if entry.get("RequestPath") == "/api/health"}
    assert "server-https@file" in routers


@on_slurm
def test_the_proxys_account_alone_reads_the_key(backend: Backend) -> None:
    assert SLURM.tls is not None
    assert SLURM.tls.host_certificate is not None
    key = SLURM.tls.host_certificate.key_file
    readers = {
        account: process.succeeds(["docker", "exec", "--user", account, submission.CONTAINER, "head", "--bytes=1", key])
        for account in (SLURM.proxy_user, SLURM.system_user)
    }
    assert readers == {SLURM.proxy_user: True, SLURM.system_user: False}
