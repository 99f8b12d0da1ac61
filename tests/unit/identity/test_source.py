"""Test which source address a request has, and that X-Forwarded-For of others changes nothing."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.source import LOOPBACK, UNKNOWN, Proxies, proxies_of
from gateway.site import Backend
from tests.unit.hostile import many

PORT, PROXIED = 8000, 8001
INGRESS = Proxies((ipaddress.ip_network("10.1.0.0/16"),), PROXIED)
pytestmark = pytest.mark.finding("R4g")


@pytest.mark.parametrize(
    ("forwarded", "wanted"),
    [
        ([], UNKNOWN),
        (["192.0.2.7"], "192.0.2.7"),
        (["198.51.100.1, 192.0.2.7"], "192.0.2.7"),
        (["198.51.100.1", "192.0.2.7"], "192.0.2.7"),
        (["198.51.100.1, 192.0.2.7, 10.1.0.9"], "192.0.2.7"),
        (["192.0.2.7, nonsense, 10.1.0.9"], "10.1.0.9"),
        (["192.0.2.7, nonsense"], UNKNOWN),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["2001:db8::7"], "2001:db8::7"),
    ],
)
def test_behind_the_own_proxy_the_source_is_the_nearest_that_is_no_proxy(forwarded, wanted):
    assert INGRESS.source_of("10.1.0.3", PROXIED, forwarded) == wanted


def test_a_direct_connection_has_its_own_address():
    assert INGRESS.source_of("10.244.0.8", PORT, ["192.0.2.7"]) == "10.244.0.8"
    assert INGRESS.source_of("10.244.0.8", None, ["192.0.2.7"]) == "10.244.0.8"


def test_the_proxies_of_the_gateways(testbed_site, geddes_site):
    assert proxies_of(geddes_site, Backend.KUBERNETES) == Proxies((), geddes_site.kubernetes.proxied_api_port)
    assert proxies_of(geddes_site, Backend.SLURM) == Proxies(LOOPBACK)
    assert proxies_of(testbed_site, Backend.SLURM) == Proxies((*LOOPBACK, *testbed_site.slurm.trusted_proxies))


texts = st.one_of(
    st.text(max_size=30),
    st.ip_addresses().map(str),
    st.sampled_from(["127.0.0.1", "10.1.0.1", "192.0.2.7, 127.0.0.1", ",", " ", "::1%eth0", "1.2.3.4:80", "0x7f.1"]),
)


@many
@given(st.lists(texts, max_size=4), st.ip_addresses(v=4))
def test_what_a_client_sends_is_no_source(forged, client):
    """The own proxy appends the client's address to what the client sends."""
    if any(client in network for network in LOOPBACK):
        return
    assert Proxies(LOOPBACK).source_of("127.0.0.1", PORT, [*forged, str(client)]) == str(client)
    assert INGRESS.source_of(str(client), PORT, forged) == str(client) or client in INGRESS.networks[0]


@many
@given(st.lists(texts, max_size=4), texts)
def test_a_source_is_an_address_or_unknown(forwarded, peer):
    source = INGRESS.source_of(peer, PORT, forwarded)
    assert source == UNKNOWN or str(ipaddress.ip_address(source)) == source
