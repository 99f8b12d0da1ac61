"""Test which addresses the proxy accepts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.slurm.proxy.addresses import LEAST_PORT, Address, address_of
from tests.unit.hostile import many

OWN = {"submission", "172.30.0.20"}


@pytest.mark.parametrize(
    ("target", "scheme", "expected"),
    [
        ("tls://hammer-a001:41234", "tls", Address("hammer-a001", 41234)),
        ("tls://Hammer-A001.rcac.purdue.edu:1024", "tls", Address("hammer-a001.rcac.purdue.edu", 1024)),
        ("http://172.30.0.33:65535", "http", Address("172.30.0.33", 65535)),
    ],
)
def test_addresses_of_compute_nodes(target, scheme, expected):
    assert address_of(target, scheme, OWN) == expected


@pytest.mark.parametrize(
    "target",
    [
        "tls://submission:8000",
        "tls://SUBMISSION:8000",
        "tls://172.30.0.20:8000",
        "tls://localhost:8088",
        "tls://localhost.localdomain:8088",
        "tls://127.0.0.1:8088",
        "tls://127.1.2.3:8088",
        "tls://127.1:8088",
        "tls://2130706433:8088",
        "tls://0x7f000001:8088",
        "tls://0177.0.0.1:8088",
        "tls://0.0.0.0:8088",
        "tls://169.254.169.254:8088",
        "tls://[::1]:8088",
        "tls://::1:8088",
        "tls://localhost.:8088",
        "tls://node1:22",
        "tls://node1:65536",
        "tls://node1:41234/path",
        "tls://node1:41234\n",
        "tls://user@node1:41234",
        "tls://node1`) || HostSNI(`*:41234",
        "http://node1:41234",
        "node1:41234",
        "tls://node1",
        "tls://node1:٤١٢٣٤",
        "",
        None,
        123,
        "tls://" + "n" * 70_000 + ":41234",
    ],
)
def test_other_addresses_are_refused_in_a_short_line(target):
    with pytest.raises(ValueError, match=r"address|port|host") as caught:
        address_of(target, "tls", OWN)
    assert len(str(caught.value)) < 600


@many
@given(st.one_of(st.text(), st.builds("tls://{}:{}".format, st.text(max_size=20), st.integers(0, 70_000))))
def test_an_accepted_address_is_host_and_port_alone(target):
    try:
        found = address_of(target, "tls", OWN)
    except ValueError:
        return
    assert target.lower() == f"tls://{found.host}:{target.rpartition(':')[2]}"
    assert found.port >= LEAST_PORT
    assert set(found.host) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert found.host not in OWN
