"""The key pair with which the parts of a cluster know each other."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

INTERNAL = "dask-internal"
"""The name by which dask-gateway's clients and workers check the scheduler's certificate."""
VALID = timedelta(days=365)
EARLIER = timedelta(hours=1)
"""How much the clocks of a cluster's machines may differ."""


def new_keypair(cluster: str) -> tuple[bytes, bytes]:
    """A self-signed certificate for a cluster, and its key, both as PEM.

    Like ``dask_gateway_server.tls.new_keypair``, of an elliptic curve: upstream's RSA key costs 10 to 100 ms of the
    event loop for each cluster (not reported upstream).
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
