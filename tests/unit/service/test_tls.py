"""Test the key pair of a cluster with a real TLS handshake, made as dask-gateway's client makes it."""

import ssl

import pytest
from cryptography import x509
from dask_gateway.client import GatewaySecurity

from gateway.service import tls


def handshake(server, client, name):
    """Run both sides of a TLS connection in memory, and return the client's side."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname=name)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (asking, answering):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return asking


def context_of(tmp_path, name):
    certificate, key = tls.new_keypair(name)
    files = tmp_path / f"{name}.crt", tmp_path / f"{name}.pem"
    for file, content in zip(files, (certificate, key), strict=True):
        file.write_bytes(content)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files)
    context.load_verify_locations(files[0])
    context.verify_mode = ssl.CERT_REQUIRED
    return context, GatewaySecurity(tls_key=key.decode(), tls_cert=certificate.decode())


def test_clients_and_scheduler_of_a_cluster_trust_each_other(tmp_path):
    scheduler, security = context_of(tmp_path, "c1")
    client = security.get_connection_args("client")["ssl_context"]
    assert handshake(scheduler, client, "c1").version() == "TLSv1.3"


def test_another_clusters_scheduler_is_not_trusted(tmp_path):
    scheduler, _ = context_of(tmp_path, "c1")
    _, security = context_of(tmp_path, "c2")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(scheduler, security.get_connection_args("client")["ssl_context"], "c2")


def test_the_certificate_names_its_cluster():
    certificate = x509.load_pem_x509_certificate(tls.new_keypair("c1")[0])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["c1", tls.INTERNAL]
