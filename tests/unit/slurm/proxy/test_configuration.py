"""Test Traefik's dynamic configuration, as data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.slurm.proxy.addresses import Address
from gateway.slurm.proxy.configuration import Targets, checked_name, dashboard_middlewares, dynamic_configuration

ONE, OTHER = "1" * 32, "2" * 32
CLUSTERS = {
    ONE: Targets(Address("node1", 40001), Address("node1", 40002), "secret of one"),
    OTHER: Targets(scheduler=Address("node2", 40003)),
}
FOUND = dynamic_configuration("http://127.0.0.1:8088", CLUSTERS, (b"certificate", b"key"))


def test_each_cluster_is_reached_by_its_own_name_alone():
    http, tcp = FOUND["http"], FOUND["tcp"]
    assert http["routers"][ONE]["rule"] == f"Path(`/clusters/{ONE}`) || PathPrefix(`/clusters/{ONE}/`)"
    assert http["services"][ONE] == {"loadBalancer": {"servers": [{"url": "http://node1:40002"}]}}
    assert tcp["routers"][OTHER]["rule"] == f"HostSNI(`daskgateway-{OTHER}`)"
    assert tcp["services"][OTHER] == {"loadBalancer": {"servers": [{"address": "node2:40003"}]}}


def test_a_cluster_without_a_dashboard_has_no_path():
    assert set(FOUND["http"]["routers"]) == {"server", ONE}


def test_the_server_gets_the_paths_of_the_api_and_of_the_login_alone():
    assert FOUND["http"]["routers"]["server"]["rule"] == "PathPrefix(`/api/`) || PathPrefix(`/dashboards/callback`)"
    assert FOUND["http"]["services"]["server"] == {"loadBalancer": {"servers": [{"url": "http://127.0.0.1:8088"}]}}


def test_each_route_that_leads_somewhere_is_bounded():
    for protocol in (FOUND["http"], FOUND["tcp"]):
        for name, router in protocol["routers"].items():
            assert set(router.get("middlewares", ())) <= set(protocol["middlewares"])
            assert "bound" in router.get("middlewares", ()) or name == "unknown"
    assert FOUND["tcp"]["services"]["unknown"] == {"loadBalancer": {"servers": []}}
    assert FOUND["http"]["routers"][ONE]["middlewares"] == dashboard_middlewares(ONE)


@pytest.mark.finding("R5")
def test_a_dashboard_is_reached_after_the_login_and_without_credentials():
    bound, login, headers, path = (FOUND["http"]["middlewares"][name] for name in dashboard_middlewares(ONE))
    assert login["forwardAuth"]["address"] == "http://127.0.0.1:8088/dashboards/authorize"
    assert login["forwardAuth"]["trustForwardHeader"] is False
    assert headers["headers"]["customRequestHeaders"] == {
        "Authorization": "",
        "Cookie": "",
        "X-Dask-Gateway-Dashboard": "secret of one",
    }
    assert set(bound) | set(path) == {"inFlightReq", "stripPrefixRegex"}


def test_schedulers_keep_their_tls():
    assert all(router["tls"] == {"passthrough": True} for router in FOUND["tcp"]["routers"].values())


def test_traefik_makes_no_certificate_itself():
    found = FOUND["tls"]["stores"]["default"]["defaultCertificate"]
    assert found == {"certFile": "certificate", "keyFile": "key"}


@given(st.text())
def test_names_are_those_that_upstream_makes(name):
    if len(name) == 32 and set(name) <= set("0123456789abcdef"):
        assert checked_name(name) == name
    else:
        with pytest.raises(ValueError, match="is not the name of a cluster"):
            checked_name(name)
