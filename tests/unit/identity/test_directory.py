"""Test the LDAP directory: verified TLS, timeouts, and names that are escaped in queries."""

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from types import SimpleNamespace
from typing import ClassVar

import ldap3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from ldap3.core.exceptions import LDAPBusyResult

from gateway.identity.accounts import Account, AccountUnknown
from gateway.identity.directory import DirectoryUnavailable, LdapDirectory, of_identity

TIMEOUT_SECONDS = 1


def authority(path, name):
    """Return a new certificate authority, whose certificate stands in a file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    basic = x509.BasicConstraints(ca=True, path_length=0)
    certificate = signed(subject, key, subject, key, (basic, True))
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return SimpleNamespace(key=key, subject=subject, file=path)


def signed(subject, key, issuer, issuer_key, extension):
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=2))
        .add_extension(*extension)
        .sign(issuer_key, hashes.SHA256())
    )


def server_context(issuer, path, host):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    names = x509.SubjectAlternativeName([x509.DNSName(host), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    names = names if host == "localhost" else x509.SubjectAlternativeName([x509.DNSName(host)])
    certificate = signed(subject, key, issuer.subject, issuer.key, (names, False))
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@contextlib.contextmanager
def server(context=None, *, silent=True):
    """Run a server that never answers LDAP: it stays silent, or closes the connection after the TLS handshake.

    It counts the clients that trust its certificate, and all clients where it has no TLS.
    """
    listener = socket.create_server(("localhost", 0))
    found = SimpleNamespace(port=listener.getsockname()[1], trusted=0)
    accepted = []

    def serve():
        while True:
            try:
                client, _ = listener.accept()
                accepted.append(client)
                if context is not None:
                    accepted.append(context.wrap_socket(client, server_side=True))
                found.trusted += 1
                if not silent:
                    accepted[-1].close()
            except ssl.SSLError:
                continue
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for client in accepted:
            client.close()
        thread.join(10)


@pytest.fixture
def known(tmp_path):
    return authority(tmp_path / "known.pem", "Known authority")


@pytest.fixture
def directory_at(testbed_site, known):
    """Return a function that makes a directory at a local port; the directory trusts the known authority."""

    def make(port):
        identity = testbed_site.identity
        changed = {"url": f"ldaps://localhost:{port}", "ca_file": str(known.file), "timeout_seconds": TIMEOUT_SECONDS}
        return LdapDirectory(identity.model_copy(update={"directory": identity.directory.model_copy(update=changed)}))

    return make


async def is_unavailable(directory):
    """Check that a look-up ends. Without a timeout of its own, it would wait for the silent server for ever."""
    with pytest.raises(DirectoryUnavailable, match="The account of 'alice' can't be looked up now"):
        await asyncio.wait_for(directory.account("alice"), 60)


async def test_a_server_of_the_known_authority_is_trusted(known, tmp_path, directory_at):
    with server(server_context(known, tmp_path / "server.pem", "localhost"), silent=False) as found:
        await is_unavailable(directory_at(found.port))
        assert found.trusted == 1


@pytest.mark.weakness(6)
async def test_a_server_of_an_unknown_authority_is_not_trusted(tmp_path, directory_at):
    other = authority(tmp_path / "other.pem", "Another authority")
    with server(server_context(other, tmp_path / "server.pem", "localhost")) as found:
        await is_unavailable(directory_at(found.port))
        assert found.trusted == 0


@pytest.mark.weakness(6)
async def test_a_server_of_another_name_is_not_trusted(known, tmp_path, directory_at):
    context = server_context(known, tmp_path / "server.pem", "elsewhere.example")
    with server(context) as found, pytest.raises(DirectoryUnavailable, match="LDAPSocketOpenError"):
        await directory_at(found.port).account("alice")


@pytest.mark.weakness(6)
async def test_a_server_that_is_silent_costs_a_bounded_time(directory_at):
    with server() as found:
        await is_unavailable(directory_at(found.port))


@pytest.mark.weakness(6)
async def test_a_server_that_is_silent_after_tls_costs_a_bounded_time(known, tmp_path, directory_at):
    with server(server_context(known, tmp_path / "server.pem", "localhost")) as found:
        await is_unavailable(directory_at(found.port))
        assert found.trusted == 1


@pytest.mark.weakness(6)
async def test_a_server_that_takes_no_connection_costs_a_bounded_time(directory_at):
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("localhost", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        await is_unavailable(directory_at(listener.getsockname()[1]))


async def test_no_server_is_an_outage_too(directory_at):
    with socket.create_server(("localhost", 0)) as closed:
        port = closed.getsockname()[1]
    await is_unavailable(directory_at(port))


def test_plain_ldap_is_no_directory(testbed_site):
    directory = testbed_site.identity.directory
    with pytest.raises(ValueError, match="url"):
        type(directory).model_validate({**directory.model_dump(), "url": "ldap://directory"})


RealConnection = ldap3.Connection
PEOPLE = {
    "alice": {"uidNumber": 20001, "gidNumber": 20000},
    "alicia": {"uidNumber": 20009, "gidNumber": 20000},
    "paf1002": {"uidNumber": 30002, "gidNumber": 30000},
}


class Connection:
    """ldap3's connection to its mock directory, with the testbed's entries. It records the queries."""

    queries: ClassVar[list[str]] = []
    servers: ClassVar[list[ldap3.Server]] = []

    def __init__(self, settings):
        self._settings = settings

    def __call__(self, server, **arguments):
        self.servers.append(server)
        assert arguments["receive_timeout"] == self._settings.timeout_seconds
        connection = RealConnection(
            ldap3.Server("mock", get_info=ldap3.OFFLINE_SLAPD_2_4), client_strategy=ldap3.MOCK_SYNC
        )
        for name, numbers in PEOPLE.items():
            entry = {"objectClass": ["posixAccount"], "uid": name, **numbers}
            connection.strategy.add_entry(f"uid={name},{self._settings.people_base}", entry)
        group = {"objectClass": ["posixGroup"], "cn": "cms", "gidNumber": 21001, "memberUid": ["alice", "bob"]}
        connection.strategy.add_entry(f"cn=cms,{self._settings.groups_base}", group)
        search = connection.search

        def recorded(base, query, **options):
            self.queries.append(query)
            return search(base, query, **options)

        connection.search = recorded
        connection.bind()
        return connection


class BusyConnection:
    """ldap3's connection to a directory that answers "busy", which is an exception only where the caller wants it."""

    def __init__(self, _server, **arguments):
        assert arguments["raise_exceptions"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def search(self, *_, **__):
        raise LDAPBusyResult


@pytest.fixture
def directory(testbed_site, known, monkeypatch):
    settings = testbed_site.identity.directory.model_copy(update={"ca_file": str(known.file)})
    identity = testbed_site.identity.model_copy(update={"directory": settings})
    made = of_identity(identity)
    monkeypatch.setattr(Connection, "queries", [])
    monkeypatch.setattr(Connection, "servers", [])
    monkeypatch.setattr("gateway.identity.directory.ldap3.Connection", Connection(settings))
    return made


@pytest.mark.weakness(5, 11)
async def test_an_account_is_found_by_its_whole_name(directory):
    assert await directory.account("alice") == Account("alice", 20001, 20000, (21001,))


async def test_look_ups_in_different_threads_share_no_server(directory):
    """ldap3 keeps the address of the open connection in the server, and forgets it when any connection closes."""
    await asyncio.gather(*(directory.account(name) for name in ("alice", "alice")))
    assert len(set(map(id, Connection.servers))) == 2


@pytest.mark.weakness(5)
@pytest.mark.parametrize("name", ["ali", "al*e", "*", "alice)(uid=*", "alice)(|(uid=*", "al\\2ae", "a\0"])
async def test_a_name_adds_nothing_to_the_question(directory, name):
    with pytest.raises(AccountUnknown):
        await directory.account(name)
    escaped = "".join(f"\\{ord(letter):02x}" if letter in "*()\\\0" else letter for letter in name)
    assert Connection.queries == [
        f"(&(objectClass=posixAccount)(uid={escaped}))",
        f"(&(objectClass=posixGroup)(memberUid={escaped}))",
    ]


@pytest.mark.weakness(14)
async def test_an_account_is_found_by_its_number(directory):
    assert await directory.account_of_uid(30002) == Account("paf1002", 30002, 30000, ())
    assert await directory.account_of_uid(20001) == Account("alice", 20001, 20000, (21001,))
    assert await directory.account_of_uid(30009) is None


async def test_a_busy_directory_is_one_without_an_answer(directory, monkeypatch):
    monkeypatch.setattr("gateway.identity.directory.ldap3.Connection", BusyConnection)
    with pytest.raises(DirectoryUnavailable, match="LDAPBusyResult"):
        await directory.account("alice")
