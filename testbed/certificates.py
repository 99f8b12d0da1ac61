"""The testbed's certificate authority, made once, and certificates that it signs."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from testbed import secret_files
from testbed.paths import SECRETS

DIRECTORY = SECRETS / "ca"
AUTHORITY = "ca"
VALIDITY = datetime.timedelta(days=3650)
"""Longer than any testbed lives, so nothing renews a certificate."""


def certificate_authority() -> Path:
    """Return the authority's certificate (PEM); make it if it is missing."""
    certificate = certificate_path()
    if not certificate.is_file():
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder("Testbed's certificate authority", key, _name("Testbed's certificate authority"), key)
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        _write(AUTHORITY, key, builder.add_extension(usage, critical=True).sign(key, hashes.SHA256()))
    return certificate


def certificate_path() -> Path:
    """Return where the authority's certificate is, or will be."""
    return _certificate(AUTHORITY)


def server_certificate(host: str, *more: str) -> tuple[Path, Path]:
    """Return certificate and key (PEM) of a TLS server of these names; make them if they are missing.

    The first name, which is that of the files, always has the same further names.
    """
    certificate = _certificate(host)
    authority = x509.load_pem_x509_certificate(certificate_authority().read_bytes())
    if not certificate.is_file() or not _signed_by(certificate, authority):
        authority_key = load_pem_private_key(_key(AUTHORITY).read_bytes(), password=None)
        if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
            raise TypeError(
                f"{_key(AUTHORITY)} is not an elliptic curve key: remove {DIRECTORY} to make a new authority"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(host, key, authority.subject, authority_key)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in (host, *more)]), critical=False
        )
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        _write(host, key, builder.sign(authority_key, hashes.SHA256()))
    return certificate, _key(host)


def _certificate(name: str) -> Path:
    return DIRECTORY / f"{name}.crt"


def _key(name: str) -> Path:
    return DIRECTORY / f"{name}.key"


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _signed_by(certificate: Path, authority: x509.Certificate) -> bool:
    try:
        x509.load_pem_x509_certificate(certificate.read_bytes()).verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, another one is made
        return False
    return True


def _builder(
    common_name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    # Begin a day ago: clocks of containers and machine may differ.
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def _write(name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    """Write the key first: a certificate on disk means that both exist."""
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    secret_files.write(_key(name), text)
    secret_files.write(_certificate(name), certificate.public_bytes(Encoding.PEM).decode())
    # A certificate is no secret: users in containers read it where it is mounted.
    _certificate(name).chmod(0o644)
