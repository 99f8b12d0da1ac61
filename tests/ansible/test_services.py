"""The services of the submission host, their accounts and their sockets."""

import re

import pytest

from tests.ansible.hosts import run_as, site

pytestmark = pytest.mark.e2e

GATEWAY = "dask-gateway.service"
GATEWAY_SOCKET = "dask-gateway.socket"
PROXY = "dask-gateway-proxy.service"
PROXY_SOCKETS = ["dask-gateway-proxy.socket", "dask-gateway-proxy-ingress.socket"]
MOST_EXPOSURE = 2.5
"""Bound on what `systemd-analyze security` says of the proxy; an unprotected service has 9.6."""
PORTS = ["api_port", "metrics_port", "proxy_port", "ingress_port"]
LISTEN = "import socket, sys; socket.create_server((sys.argv[1], int(sys.argv[2])))"
ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=60).status)"


@pytest.mark.parametrize("name", ["sssd.service", "munge.service", GATEWAY, GATEWAY_SOCKET, PROXY, *PROXY_SOCKETS])
def test_services_run_and_start_with_the_machine(host, name: str) -> None:
    service = host.service(name)
    assert service.is_running
    assert service.is_enabled


def test_server_and_proxy_run_under_accounts_of_their_own(host) -> None:
    users = [host.service(name).systemd_properties["User"] for name in (GATEWAY, PROXY)]
    assert users == [site().slurm.system_user, site().slurm.proxy_user]


def test_the_proxy_may_gain_no_rights(host) -> None:
    properties = host.service(PROXY).systemd_properties
    assert properties["NoNewPrivileges"] == "yes"
    assert properties["ProtectSystem"] == "strict"
    # testinfra leaves empty properties out.
    assert "CapabilityBoundingSet" not in properties
    said = host.check_output("systemd-analyze security --no-pager %s", PROXY).splitlines()[-1]
    assert float(re.search(r"level for \S+: ([0-9.]+)", said)[1]) < MOST_EXPOSURE


@pytest.mark.finding("R2")
@pytest.mark.parametrize("name", PORTS)
def test_systemd_holds_the_ports(host, name: str) -> None:
    """After a crash, no other program can take a port of server or proxy."""
    port = f"sport = :{getattr(site().slurm, name)}"
    listening = host.check_output("ss --no-header --listening --tcp --numeric --processes %s", port)
    assert '("systemd",pid=1,' in listening


@pytest.mark.finding("R2")
def test_no_user_can_take_the_ports_of_a_stopped_server(host) -> None:
    """The program on the server's port would get each user's token of the hub."""
    slurm = site().slurm
    host.check_output("systemctl stop %s", GATEWAY)
    try:
        for address, port in (("127.0.0.1", slurm.api_port), (slurm.metrics_address, slurm.metrics_port)):
            ended = run_as(host, "bob", ["python3", "-c", LISTEN, address, str(port)])
            assert "Address already in use" in ended.stderr
    finally:
        host.check_output("systemctl start %s", GATEWAY)


def test_a_request_waits_for_a_stopped_server(host) -> None:
    slurm = site().slurm
    for port in (slurm.api_port, slurm.proxy_port):
        host.check_output("systemctl stop %s", GATEWAY)
        assert host.check_output("python3 -c %s %s", ASK, f"http://127.0.0.1:{port}/api/health") == "200"
        assert host.service(GATEWAY).is_running


def test_the_proxy_alone_listens_to_other_machines(host) -> None:
    slurm = site().slurm
    for port in (slurm.proxy_port, slurm.ingress_port):
        assert host.socket(f"tcp://0.0.0.0:{port}").is_listening
    for port in (slurm.api_port, slurm.metrics_port):
        assert host.socket(f"tcp://127.0.0.1:{port}").is_listening
        addresses = {address for address in host.socket.get_listening_sockets() if address.endswith(f":{port}")}
        assert addresses == {f"tcp://127.0.0.1:{port}"}


def test_proxy_outlives_a_restart_of_the_server(host) -> None:
    def process_id(name: str) -> str:
        return host.service(name).systemd_properties["MainPID"]

    proxy, server = process_id(PROXY), process_id(GATEWAY)
    host.check_output("systemctl restart %s", GATEWAY)
    assert process_id(GATEWAY) != server
    assert process_id(PROXY) == proxy
