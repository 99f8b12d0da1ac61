"""Test that the SLURM half alone answers under the user guide's names, which otherwise the Kubernetes half serves."""

import json

import pytest
import yaml

from gateway import site
from release import process
from testbed import certificates, docker, front, plan, steps
from testbed.paths import SITE
from testbed.public_names import ADDRESS, hosts_lines, public_names

GATEWAY = site.load(SITE).slurm
SCHEME = "http" if GATEWAY.tls is None else "https"


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """A certificate authority of the test's own."""
    monkeypatch.setattr(certificates, "DIRECTORY", tmp_path)
    return certificates.certificate_authority()


@pytest.fixture
def world(tmp_path, monkeypatch, authority):
    """Containers in the testbed's network by name, and the containers that were started."""
    addresses, started = {}, []

    def listed(_command):
        return json.dumps({str(n): {"Name": k, "IPv4Address": f"{v}/24"} for n, (k, v) in enumerate(addresses.items())})

    monkeypatch.setattr(front, "CONFIGURATION", tmp_path / "front.yaml")
    assert authority
    monkeypatch.setattr(process, "capture", listed)
    monkeypatch.setattr(docker, "ensure_container", started.append)
    monkeypatch.setattr(front.waiting, "until", lambda *_, **__: None)
    monkeypatch.setenv("TRAEFIK_IMAGE", "registry.example/traefik:1")
    monkeypatch.setattr("release.image.image_id", lambda _: "sha256:1")
    return addresses, started


@pytest.mark.parametrize("present", [{}, {front.NAME: ADDRESS, "af-notebook": "172.30.0.30"}], ids=["nothing", "front"])
def test_the_front_has_the_slurm_gateways_names_and_the_public_address(world, present):
    addresses, started = world
    addresses.update(present)
    front.ensure_front()
    (container,) = started
    assert container.address == ADDRESS
    assert set(container.aliases) == {front.NAME, GATEWAY.host, GATEWAY.proxy_host}
    (mounted,) = container.mounts
    assert yaml.safe_load(mounted.read_text()) == front.routes(GATEWAY)


def test_no_front_beside_the_kubernetes_node(world):
    addresses, started = world
    addresses["af-testbed-control-plane"] = ADDRESS
    front.ensure_front()
    assert started == []


def test_the_front_routes_both_names_to_the_submission_host(authority):
    wanted = f"{GATEWAY.submission_address}:{GATEWAY.proxy_port}"
    routes = front.routes(GATEWAY)
    assert f"Host(`{GATEWAY.host}`)" in str(routes["http"])
    server = f"{GATEWAY.submission_address}:{GATEWAY.ingress_port or GATEWAY.proxy_port}"
    assert f"'{SCHEME}://{server}'" in str(routes["http"])
    (transport,) = routes["http"]["serversTransports"].values()
    assert transport == {"serverName": GATEWAY.submission_host, "rootCAs": [authority.read_text()]}
    assert f"'{wanted}'" in str(routes["tcp"])


def test_the_slurm_half_has_a_front_only_where_it_runs_alone():
    assert "front" in plan.PARTS["slurm"]
    for part in ("all", "kubernetes"):
        assert "front" not in {step.name for step in steps.select(plan.STEPS, plan.PARTS[part])}


def test_lines_for_etc_hosts_have_all_public_names():
    assert [line.split() for line in hosts_lines()] == [[ADDRESS, name] for name in public_names()]
