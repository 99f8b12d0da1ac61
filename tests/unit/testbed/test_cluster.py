"""Test the pure parts of the testbed's Kubernetes node."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from testbed import cluster, public_names
from testbed.images import kubernetes


def _entrypoint() -> ModuleType:
    path = Path(kubernetes.HERE) / "node" / "entrypoint.py"
    spec = importlib.util.spec_from_file_location("entrypoint", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_storage_is_mounted_under_its_name_in_the_node() -> None:
    (node,) = cluster.configuration([Path("/state/b"), Path("/state/a")])["nodes"]  # type: ignore[misc]
    assert node["extraMounts"] == [
        {"hostPath": "/state/a", "containerPath": "/srv/storage/a"},
        {"hostPath": "/state/b", "containerPath": "/srv/storage/b"},
    ]


def test_kubeadm_asks_for_the_images_that_the_node_has() -> None:
    patches = [yaml.safe_load(text) for text in cluster.configuration([])["kubeadmConfigPatches"]]  # type: ignore[attr-defined]
    asked = next(patch for patch in patches if patch["kind"] == "ClusterConfiguration")
    names = [name for names in kubernetes.NAMES.values() for name in names]
    assert f"etcd:{asked['etcd']['local']['imageTag']}" in names
    assert f"coredns/coredns:{asked['dns']['imageTag']}" in names


def test_containerd_finds_the_pause_image_that_the_node_has() -> None:
    text = (kubernetes.HERE / "node" / "containerd.toml").read_text()
    assert f'sandbox_image = "registry.k8s.io/{kubernetes.NAMES["pause"][0]}"' in text


def test_every_public_name_of_the_site_leads_to_the_node() -> None:
    assert public_names.public_names() == [
        "api-dask-gateway-k8s-slurm.cms.geddes.rcac.purdue.edu",
        "dask-gateway-k8s-slurm.geddes.rcac.purdue.edu",
        "dask-gateway-k8s.geddes.rcac.purdue.edu",
        "traefik-dask-gateway-k8s.cms.geddes.rcac.purdue.edu",
    ]


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("debian:12", "docker.io/library/debian:12"),
        ("af-dask-gateway/server:1", "docker.io/af-dask-gateway/server:1"),
        ("registry.example/a/b:1", "registry.example/a/b:1"),
        ("localhost/a:1", "localhost/a:1"),
        ("host:5000/a:1", "host:5000/a:1"),
    ],
)
def test_canonical_references(reference: str, full: str) -> None:
    assert cluster.canonical(reference) == full


LISTING = """\
REF TYPE DIGEST SIZE PLATFORMS LABELS
docker.io/a/same:1 application/vnd.oci.image.index.v1+json sha256:d1 1.0 MiB linux/amd64 managed
sha256:i1 application/vnd.oci.image.index.v1+json sha256:d1 1.0 MiB linux/amd64 managed
docker.io/a/moved:1 application/vnd.oci.image.index.v1+json sha256:d2 1.0 MiB linux/amd64 managed
"""


@pytest.mark.parametrize(
    ("reference", "identifier", "there"),
    [
        ("a/same:1", "sha256:i1", True),
        ("a/same:1", "sha256:d1", True),  # engines with containerd's store give the manifest's digest as id
        ("a/moved:1", "sha256:i1", False),  # the name means another image
        ("a/moved:1", "sha256:i3", False),
        ("a/absent:1", "sha256:i1", False),
    ],
)
def test_images_are_told_apart_by_id(reference: str, identifier: str, there: bool) -> None:
    assert cluster.has_image(LISTING, reference, identifier) is there


def test_pods_reach_the_dns_of_docker() -> None:
    rules = "\n".join(
        [
            "*nat",
            "-A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT",
            "-A POSTROUTING -d 127.0.0.11/32 -j DOCKER_POSTROUTING",
            "-A DOCKER_OUTPUT -d 127.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:40000",
            "-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p udp -m udp --sport 40000 -j SNAT --to-source :53",
            "COMMIT",
        ]
    )
    assert _entrypoint().reachable_dns_rules(rules, "172.18.0.1").splitlines() == [
        "*nat",
        "-A OUTPUT -d 172.18.0.1/32 -j DOCKER_OUTPUT",
        "-A PREROUTING -d 172.18.0.1/32 -j DOCKER_OUTPUT",
        "-A POSTROUTING -d 172.18.0.1/32 -j DOCKER_POSTROUTING",
        "-A DOCKER_OUTPUT -d 172.18.0.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.11:40000",
        "-A DOCKER_POSTROUTING -s 127.0.0.11/32 -p udp -m udp --sport 40000 -j SNAT --to-source 172.18.0.1:53",
        "COMMIT",
    ]
