"""The front of the SLURM gateway where the SLURM half of the testbed runs alone.

On Geddes, and on a testbed with both halves, the Kubernetes half serves the SLURM gateway under the user guide's names.
Without the Kubernetes half, a container with Traefik has these names: it routes HTTP by the host's name and forwards
the schedulers' port unchanged, as Ingress and Service do there.
"""

import json
import os

import requests
import yaml

from gateway import site
from release import content, process
from testbed import docker, waiting
from testbed.certificates import certificate_authority, server_certificate
from testbed.images.table import TRAEFIK
from testbed.paths import SITE, STATE
from testbed.public_names import ADDRESS, public_names

NAME = "af-front"
CONFIGURATION = STATE / "front.yaml"
READY_SECONDS = 30


def ensure_front() -> None:
    """Have the SLURM gateway answer under its public names.

    The Kubernetes node serves them already where it has their address.
    """
    holder = _holder_of_address()
    if holder not in (None, NAME):
        process.say(f"{holder} serves the public names")
        return
    gateway = site.load(SITE).slurm
    # It has the private key of the public name.
    CONFIGURATION.touch(mode=0o600)
    CONFIGURATION.chmod(0o600)
    CONFIGURATION.write_text(yaml.safe_dump(routes(gateway)))
    docker.ensure_container(
        docker.Container(
            name=NAME,
            image=TRAEFIK.ensure(),
            command=(
                "--global.checknewversion=false",
                "--global.sendanonymoususage=false",
                "--entrypoints.web.address=:80",
                # A dashboard's page keeps its websocket open.
                "--entrypoints.web.transport.respondingtimeouts.readtimeout=0s",
                "--entrypoints.websecure.address=:443",
                "--entrypoints.websecure.transport.respondingtimeouts.readtimeout=0s",
                f"--entrypoints.schedulers.address=:{gateway.proxy_port}",
                "--providers.file.filename=/etc/traefik/front.yaml",
            ),
            address=ADDRESS,
            aliases=(NAME, *public_names([site.Backend.SLURM])),
            mounts={CONFIGURATION: "/etc/traefik/front.yaml:ro"},
            # Traefik runs as the file's owner, without root's capabilities.
            options=(
                *("--user", f"{os.getuid()}:{os.getgid()}", "--cap-drop", "ALL"),
                *("--sysctl", "net.ipv4.ip_unprivileged_port_start=0"),
            ),
            inputs=(content.digest(CONFIGURATION),),
        )
    )
    waiting.until("the SLURM gateway answers under its public name", _answers, seconds=READY_SECONDS)


def remove_front() -> None:
    """Give the public names and their address free for the Kubernetes node."""
    docker.remove_container(NAME)


def routes(gateway: site.SlurmGateway) -> dict[str, object]:
    """Return Traefik's dynamic configuration: HTTP and HTTPS of the gateway's name, and its proxy's port."""
    proxy = f"{gateway.submission_address}:{gateway.proxy_port}"
    server = f"{gateway.submission_address}:{gateway.ingress_port or gateway.proxy_port}"
    router = {"rule": f"Host(`{gateway.host}`)", "service": "gateway"}
    is_secure = gateway.tls is not None and gateway.tls.host_certificate is not None
    balancer = {
        "servers": [{"url": f"{'https' if is_secure else 'http'}://{server}"}],
        "serversTransport": "submission",
    }
    certificate, key = (path.read_text() for path in server_certificate(gateway.host))
    authority = certificate_authority().read_text()
    return {
        "http": {
            "routers": {
                "gateway": {**router, "entryPoints": ["web"]},
                "gateway-https": {**router, "entryPoints": ["websecure"], "tls": {}},
            },
            "services": {"gateway": {"loadBalancer": balancer}},
            "serversTransports": {"submission": {"serverName": gateway.submission_host, "rootCAs": [authority]}},
        },
        "tls": {"certificates": [{"certFile": certificate, "keyFile": key}]},
        "tcp": {
            "routers": {"proxy": {"entryPoints": ["schedulers"], "rule": "HostSNI(`*`)", "service": "proxy"}},
            "services": {"proxy": {"loadBalancer": {"servers": [{"address": proxy}]}}},
        },
    }


def _holder_of_address() -> str | None:
    """Return the name of the running container that has the public names' address."""
    listed = process.capture(["docker", "network", "inspect", "--format", "{{json .Containers}}", docker.NETWORK])
    containers = json.loads(listed) or {}
    addresses = {entry["IPv4Address"].partition("/")[0]: entry["Name"] for entry in containers.values()}
    return addresses.get(ADDRESS)


def _answers() -> bool:
    host = site.load(SITE).slurm.host
    try:
        return requests.get(f"http://{ADDRESS}/api/health", headers={"Host": host}, timeout=5).ok
    except requests.RequestException:
        return False
