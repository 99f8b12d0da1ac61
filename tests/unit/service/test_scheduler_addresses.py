"""Addresses of schedulers: the host is never a scheduler's word, the port is bounded."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import Refusal
from gateway.service import scheduler_addresses
from tests.unit.hostile import many, text

OWN = {8000, 8088, 8089}


@many
@given(address=st.one_of(text, st.builds("{}://{}:{}".format, st.sampled_from(["tls", "http"]), text, st.integers())))
@example(address="http://127.0.0.1:8089@10.0.0.1:40000")
@example(address="http://10.0.0.1:40000/api?x=1")
@example(address="tls://10.0.0.1:40000\n")
@example(address="tls://10.0.0.1:\u0664\u0665\u0666\u0667")
def test_only_a_port_is_taken_from_a_scheduler(address):
    try:
        port = scheduler_addresses.port_of(address, OWN)
    except Refusal:
        return
    assert 1024 <= port <= 65535
    assert port not in OWN
    assert address.rstrip("/").endswith(f":{port}") or address.rstrip("/").rpartition(":")[2].lstrip("0") == str(port)


@pytest.mark.parametrize(
    ("address", "port"),
    [("tls://10.0.0.1:40000", 40000), ("http://[fd00::1]:1024", 1024), ("https://node.site:65535/", 65535)],
)
def test_ports_that_schedulers_have(address, port):
    assert scheduler_addresses.port_of(address, OWN) == port


@pytest.mark.parametrize("port", [0, 22, 1023, 8000, 8088, 8089, 65536, 99999])
def test_ports_that_schedulers_can_not_have(port):
    with pytest.raises(Refusal, match=f"can't listen at port {port}"):
        scheduler_addresses.port_of(f"tls://10.0.0.1:{port}", OWN)


IMPOSSIBLE = [
    *("127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "224.0.0.1", "169.254.169.254", "fe80::1"),
    *("255.255.255.255", "172.30.0.20", "::ffff:172.30.0.20", "node", "10.0.0.1/8", "10.0.0.1:80"),
]


@pytest.mark.parametrize("address", [*IMPOSSIBLE, "", "10.0.0.1\n"])
def test_addresses_that_no_scheduler_has(address):
    with pytest.raises(Refusal):
        scheduler_addresses.checked_host(address, {"172.30.0.20"})


@many
@given(address=st.ip_addresses())
def test_an_address_is_refused_or_taken_as_it_is(address):
    try:
        taken = scheduler_addresses.checked_host(str(address))
    except Refusal:
        return
    assert ipaddress.ip_address(taken) == address
    assert not address.is_loopback


def test_urls():
    assert scheduler_addresses.url("tls", "10.0.0.1", 40000) == "tls://10.0.0.1:40000"
    assert scheduler_addresses.url("http", "fd00::1", 40000) == "http://[fd00::1]:40000"
