"""Key pairs for TLS between a cluster's client, scheduler and workers, and for the gateways' proxies."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

INTERNAL = "dask-internal"
"""The name that dask-gateway's clients and workers expect in the scheduler's certificate."""
VALID = timedelta(days=365)
EARLIER = timedelta(hours=1)
"""How far the validity begins before now: the clocks of a cluster's machines may differ by this much."""


def new_keypair(cluster: str) -> tuple[bytes, bytes]:
    """Return a self-signed certificate for a cluster and its private key, both in PEM.

    Replaces ``dask_gateway_server.tls.new_keypair``. The key is of an elliptic curve, because the generation of
    upstream's RSA key blocks the event loop for 10 to 100 ms per cluster (not reported upstream).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, INTERNAL)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(cluster), x509.DNSName(INTERNAL)]), critical=False)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + VALID)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), private
