"""The configuration of the server, and how it starts."""

import pytest
from dask_gateway_server.options import Options

from gateway.slurm.__main__ import SlurmGateway, main
from gateway.slurm.configuration import server_config
from tests.unit.slurm.proxy.conftest import rendered


def test_server_keeps_clusters_over_a_restart(testbed_site):
    config = server_config(testbed_site)
    backend = config.FacilitySlurmBackend
    assert backend.stop_clusters_on_shutdown is False
    assert backend.db_url == "sqlite:////var/lib/dask-gateway/gateway.sqlite"
    assert isinstance(backend.cluster_options, Options)


def test_only_the_proxy_is_reachable_from_elsewhere(testbed_site):
    config = server_config(testbed_site)
    assert config.DaskGateway.address == "127.0.0.1:8088"
    assert config.FacilitySlurmBackend.api_url == "http://submission:8000/api"


@pytest.mark.finding("R2")
def test_systemd_listens_at_the_addresses_of_the_server(testbed_site):
    config = server_config(testbed_site)
    unit = rendered("dask-gateway.socket.j2", testbed_site.model_dump(mode="json"))
    held = [line.removeprefix("ListenStream=") for line in unit.splitlines() if line.startswith("ListenStream=")]
    assert held == [config.DaskGateway.address, config.Measured.metrics_address]


def test_start_timeout_is_of_schedulers_and_waiting_workers_are_no_failure(testbed_site):
    backend = server_config(testbed_site).FacilitySlurmBackend
    assert backend.cluster_start_timeout == 120
    assert backend.worker_start_timeout == 86400


def test_service_is_named_exactly(monkeypatch):
    started = []
    monkeypatch.setattr(SlurmGateway, "launch_instance", lambda *, argv: started.append(argv))
    main(["server"])
    assert started == [[]]
    for wrong in ([], ["servr"], ["proxy"], ["server", "more"]):
        with pytest.raises(SystemExit, match=r"usage: python -m gateway.slurm server"):
            main(wrong)
