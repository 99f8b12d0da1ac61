"""Attacks on the front of the SLURM gateway: half-open connections, many connections, the proxy's account."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from gateway.site import Backend
from gateway.slurm.proxy.configuration import MOST_CONNECTIONS, SERVER_NAME
from release import process
from testbed import docker, submission
from tests.e2e.back_ends import on_slurm
from tests.e2e.machines import SETTINGS
from tests.e2e.notebooks import Notebook

pytestmark = [pytest.mark.e2e, on_slurm]

FRONT = (SETTINGS.slurm.submission_address, SETTINGS.slurm.proxy_port)
CLOSED_SECONDS = 60
"""Longer than the proxy keeps half-open connections."""
MORE = 16
"""Connections beyond the bound."""
SERVER_FILES = ("/etc/dask-gateway-secrets/hub-token", f"{SETTINGS.slurm.state_directory}/gateway.sqlite")


@contextmanager
def connections(count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(FRONT, timeout=CLOSED_SECONDS)) for _ in range(count)]


def client_hello(cluster: str) -> bytes:
    """Return the first message of a TLS client that wants a cluster's scheduler."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=SERVER_NAME.format(cluster)).do_handshake()
    return outgoing.read()


def is_answered(connection: socket.socket) -> bool:
    """Return whether a scheduler answers; the proxy closes the connection otherwise."""
    try:
        return connection.recv(1) != b""
    except ConnectionResetError:
        return False


@pytest.mark.finding("R4h")
def test_half_open_connections_are_closed(backend: Backend) -> None:
    begun = [b"", client_hello("0" * 32)[:40], b"GET /api/health HTTP/1.1\r\nHost: gateway\r\n"]
    with connections(len(begun)) as opened:
        for connection, half in zip(opened, begun, strict=True):
            connection.sendall(half)
        assert [connection.recv(1) for connection in opened] == [b"", b"", b""]


@pytest.mark.finding("R4h")
def test_one_source_can_not_hold_all_connections_to_a_scheduler(backend: Backend, alice: Notebook) -> None:
    hello = client_hello(alice.run("cluster.name"))
    with connections(MOST_CONNECTIONS + MORE) as opened:
        for connection in opened:
            connection.sendall(hello)
        assert sum(map(is_answered, opened)) == MOST_CONNECTIONS
        assert alice.run("client.submit(sum, (1, 2), pure=False).result(timeout=60)") == 3


@pytest.mark.finding("R6")
def test_the_proxys_account_reads_none_of_the_servers_files(backend: Backend) -> None:
    unit = ["systemctl", "show", "--property=MainPID", "--value", "dask-gateway.service"]
    environment = f"/proc/{docker.execute(submission.CONTAINER, unit).strip()}/environ"
    for path in (*SERVER_FILES, environment):
        docker.execute(submission.CONTAINER, ["test", "-r", path])
        assert not _reads(path)
    assert _reads(SETTINGS.slurm.routes_file)


def _reads(path: str) -> bool:
    as_proxy = ["docker", "exec", "--user", SETTINGS.slurm.proxy_user, submission.CONTAINER]
    return process.succeeds([*as_proxy, "head", "--bytes=1", path])
