"""Test that a process takes the listening sockets which systemd holds for it, and binds nothing in their place."""

import socket
import subprocess
import sys

import pytest

from gateway.service import sockets
from tests.unit.service import held
from tests.unit.sources import ROOT

START = """
import os, sys
program, port, *given = sys.argv[1:]
for number, descriptor in enumerate(given, 3):
    os.dup2(int(descriptor), number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)))
os.execv(sys.executable, [sys.executable, "-c", program, port])
"""
"""Starts a program as systemd does: the descriptors begin at 3, and the process keeps its id."""
SERVE = """
import os, sys
from gateway.service import sockets
listening = sockets.passed("127.0.0.1", int(sys.argv[1]))
connection, _ = listening.accept()
connection.sendall(f"{listening.fileno()} {os.get_inheritable(listening.fileno())}".encode())
"""


@pytest.fixture
def two():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        yield one, other


def test_a_program_takes_the_socket_of_an_address(two):
    port = two[1].getsockname()[1]
    given = held.duplicates(*two)
    command = [sys.executable, "-c", START, SERVE, str(port), *map(str, given)]
    process = subprocess.Popen(command, pass_fds=given, cwd=ROOT)
    for descriptor in given:
        socket.close(descriptor)
    with process, socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        assert client.recv(100) == b"4 False", "no program that it starts inherits the socket"


def test_a_socket_that_is_taken_and_closed_listens_on(two):
    address = two[0].getsockname()
    with held.passed(*two):
        sockets.passed(*address).close()
    with socket.create_connection(address, timeout=10), two[0].accept()[0]:
        pass


def test_each_address_has_its_socket(two):
    with held.passed(*two):
        addresses = [item.getsockname() for item in two]
        found = [sockets.passed(*address) for address in addresses]
        assert [item.getsockname() for item in found] == addresses
        for item in found:
            item.close()


def test_a_process_never_binds_beside_systemds_sockets(two):
    with held.passed(*two), pytest.raises(RuntimeError, match=r"passed 2 sockets, and none listens at 127\.0\.0\.1:1;"):
        sockets.passed("127.0.0.1", 1)


@pytest.mark.parametrize(
    "environment",
    [{}, {"LISTEN_FDS": "2"}, {"LISTEN_FDS": "2", "LISTEN_PID": "8"}, {"LISTEN_PID": "7"}],
    ids=["no systemd", "no process", "another process", "no sockets"],
)
def test_a_process_without_sockets_of_its_own_gets_none(environment):
    assert list(sockets.descriptors(environment, 7)) == []


def test_descriptors_begin_at_three():
    assert list(sockets.descriptors({"LISTEN_PID": "7", "LISTEN_FDS": "2"}, 7)) == [3, 4]
