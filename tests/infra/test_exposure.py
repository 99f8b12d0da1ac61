"""Services and Ingresses: the names and ports that the user guide and the site promise."""

import pytest


def test_services(manifests, any_site):
    services = manifests.of_kind("Service")
    api, traefik = services["api-dask-gateway-k8s"], services["traefik-dask-gateway-k8s"]
    assert {port["name"]: port["port"] for port in api["spec"]["ports"]} == {"http": 8000, "proxied": 8001}
    assert {port["name"]: port["port"] for port in traefik["spec"]["ports"]} == {"web": 80, "scheduler": 8786}
    front = services["api-dask-gateway-k8s-slurm"]
    assert "selector" not in front["spec"]
    assert [port["port"] for port in front["spec"]["ports"]] == [8000]


def test_ingresses(manifests, any_site):
    own = {"name": "ingress-dask-gateway-k8s-slurm", "port": {"number": any_site.slurm.ingress_port}}
    shared = {"name": "api-dask-gateway-k8s-slurm", "port": {"number": 8000}}
    hosts = {
        manifest["spec"]["rules"][0]["host"]: manifest["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        for manifest in manifests.of_kind("Ingress").values()
    }
    assert hosts == {
        "dask-gateway-k8s.geddes.rcac.purdue.edu": {"name": "traefik-dask-gateway-k8s", "port": {"number": 80}},
        "dask-gateway-k8s-slurm.geddes.rcac.purdue.edu": own if any_site.slurm.trusted_proxies else shared,
    }


@pytest.mark.weakness(2)
def test_geddes_has_load_balancers_of_the_private_pool(geddes):
    exposed = {
        name: service["metadata"]["annotations"]["metallb.universe.tf/address-pool"]
        for name, service in geddes.of_kind("Service").items()
        if service["spec"].get("type") == "LoadBalancer"
    }
    assert exposed == {
        "traefik-dask-gateway-k8s": "geddes-private-pool",
        "api-dask-gateway-k8s-slurm": "geddes-private-pool",
    }


def test_a_nodes_web_port_is_left_to_the_ingress_controller(testbed):
    taken = {
        port["port"]
        for service in testbed.of_kind("Service").values()
        if service["spec"].get("externalIPs")
        for port in service["spec"]["ports"]
    }
    assert taken == {8786, 8000}
