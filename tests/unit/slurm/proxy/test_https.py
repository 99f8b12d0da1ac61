"""HTTPS beside HTTP and the schedulers' TLS on one port of the real Traefik."""

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.site import Backend
from gateway.slurm.proxy.addresses import Address
from gateway.slurm.proxy.configuration import Targets, dynamic_configuration
from gateway.slurm.proxy.https import own_names, with_https
from tests.unit.sites import with_tls
from tests.unit.slurm.proxy.conftest import running
from tests.unit.slurm.proxy.test_traefik import NAME, PAIR, SNI, ask, pages, scheduler

__all__ = ["pages", "scheduler"]
pytestmark = pytest.mark.finding("R7")

PAGE = f"/clusters/{NAME}/status"


@pytest.fixture
def gateway(testbed_site, tmp_path):
    """The gateway of a site with certificates; its files are in the test's directory."""
    files = {"certificate_file": str(tmp_path / "tls.crt"), "key_file": str(tmp_path / "tls.key")}
    for path, content in zip(files.values(), keypair(own_names(testbed_site.slurm)), strict=True):
        Path(path).write_bytes(content)
    return with_tls(testbed_site, Backend.SLURM, host_certificate=files).slurm


def keypair(names):
    """Return a certificate of these names, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(start).not_valid_after(start + datetime.timedelta(days=2))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), private


@pytest.fixture
def routes(pages, scheduler, gateway):
    targets = Targets(Address("127.0.0.1", scheduler), Address("127.0.0.1", pages), "secret")
    configuration = dynamic_configuration(f"http://127.0.0.1:{pages}", {NAME: targets}, PAIR)
    return with_https(configuration, gateway)


@pytest.fixture
def served(front, routes):
    front.serve(routes)
    front.await_path("/api/health")
    return front


@pytest.fixture
def behind_ingress(tmp_path, testbed_site, routes):
    """Traefik that believes what this machine says of a request's scheme."""
    with running(tmp_path, with_tls(testbed_site, Backend.SLURM, trusted=("127.0.0.0/8",))) as front:
        front.serve(routes)
        front.await_path("/api/health")
        yield front.of_ingress()


def get(front, name, path, **headers):
    """Return the answer's body to a request by TLS."""
    lines = [f"GET {path} HTTP/1.0", f"Host: {name}", *(f"{key}: {value}" for key, value in headers.items())]
    with front.connect(name) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return connection.makefile("rb").read().partition(b"\r\n\r\n")[2].decode()


def test_one_port_carries_http_https_and_the_schedulers_tls(served, gateway):
    expected = ssl.PEM_cert_to_DER_cert(Path(gateway.tls.host_certificate.certificate_file).read_text())
    for name in own_names(gateway):
        with served.connect(name) as connection:
            assert connection.getpeercert(binary_form=True) == expected
        assert get(served, name, "/api/health") == f"/api/health of {name}"
        assert get(served, name, PAGE) == f"/status of {name} by the proxy"
    with served.connect(SNI) as connection:
        assert connection.getpeercert(binary_form=True) != expected
        assert b"/scheduler" in ask(connection)
    assert served.get("/api/health", Host="gateway") == (200, "/api/health of gateway")
    with pytest.raises(OSError, match=r"reset|EOF"):
        served.connect(f"daskgateway-{'2' * 32}")


def test_plain_requests_for_dashboards_reach_the_server_alone(served):
    assert served.get(PAGE, Host="gateway") == (200, f"{PAGE} of gateway")
    claimed = {"X-Forwarded-Proto": "https"}
    assert served.get(PAGE, Host="gateway", **claimed) == (200, f"{PAGE} of gateway")


def test_an_ingress_tells_the_scheme_of_its_client(behind_ingress, gateway):
    by_https, by_http = {"X-Forwarded-Proto": "https"}, {"X-Forwarded-Proto": "http"}
    assert behind_ingress.get(PAGE, Host="gateway", **by_https) == (200, "/status of gateway by the proxy")
    assert behind_ingress.get(PAGE, Host="gateway", **by_http) == (200, f"{PAGE} of gateway")
    assert get(behind_ingress, gateway.host, PAGE, **by_http) == f"{PAGE} of {gateway.host}"


def test_a_site_without_certificates_has_no_other_routes(geddes_site):
    plain = dynamic_configuration("http://127.0.0.1:1", {}, PAIR)
    assert with_https(plain, geddes_site.slurm) == plain


def test_without_a_certificate_of_the_host_only_plain_dashboards_have_a_route(testbed_site):
    plain = dynamic_configuration("http://127.0.0.1:1", {}, PAIR)
    found = with_https(plain, with_tls(testbed_site, Backend.SLURM).slurm)
    assert set(found["http"]["routers"]) - set(plain["http"]["routers"]) == {"plain-dashboards"}
    assert found["tls"] == plain["tls"]
