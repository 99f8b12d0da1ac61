"""The services of the submission host, their accounts and their sockets."""

import pytest

from tests.ansible.hosts import site

pytestmark = pytest.mark.e2e

GATEWAY = "dask-gateway.service"
PROXY = "dask-gateway-proxy.service"


@pytest.mark.parametrize("name", ["sssd.service", "munge.service", GATEWAY, PROXY])
def test_services_run_and_start_with_the_machine(host, name: str) -> None:
    service = host.service(name)
    assert service.is_running
    assert service.is_enabled


@pytest.mark.parametrize("name", [GATEWAY, PROXY])
def test_the_gateways_services_run_under_its_own_account(host, name: str) -> None:
    assert host.service(name).systemd_properties["User"] == site().slurm.system_user


def test_the_proxy_may_gain_no_rights(host) -> None:
    properties = host.service(PROXY).systemd_properties
    assert properties["NoNewPrivileges"] == "yes"
    assert properties["ProtectSystem"] == "strict"
    # testinfra leaves empty properties out.
    assert "CapabilityBoundingSet" not in properties


def test_the_proxy_alone_listens_to_other_machines(host) -> None:
    slurm = site().slurm
    assert host.socket(f"tcp://0.0.0.0:{slurm.proxy_port}").is_listening
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
