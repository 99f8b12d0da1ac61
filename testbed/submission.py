"""The submission host: an empty machine with sshd, on which Ansible installs the SLURM gateway as on Hammer's."""

import functools
from collections.abc import Mapping
from pathlib import Path

from gateway.site import Backend, load
from release import bundle, content, process
from release.paths import ROOT
from testbed import ansible, docker, hub, slurm, storage, waiting
from testbed.certificates import certificate_authority, server_certificate
from testbed.images.table import SUBMISSION
from testbed.paths import SECRETS, SITE, STATE

CONTAINER = "af-submission"
SERVICES = ("dask-gateway.service", "dask-gateway-proxy.service")
PROXY_SOCKETS = ("dask-gateway-proxy.socket", "dask-gateway-proxy-ingress.socket")
UNITS = (*SERVICES, "dask-gateway.socket", *PROXY_SOCKETS, "dask-gateway-launcher.socket")
"""The services, and the sockets that listen for them and for the launcher."""
SSH_KEY = SECRETS / "ssh" / "id_ed25519"
KNOWN_HOSTS = STATE / "known_hosts"
SSH_OPTIONS = f"-o UserKnownHostsFile={KNOWN_HOSTS} -o StrictHostKeyChecking=yes"
"""Options of ssh, as Ansible gives them."""
STAMP = "/var/lib/af-testbed-play"
"""File on the host with the digest of the last play that succeeded, and of all its inputs."""
READY_SECONDS = 60


def ensure_submission() -> None:
    """Bring up the host and run Ansible on it, unless the same play has succeeded there already."""
    ensure_host()
    if _is_made():
        process.say("the play has run and the services are active")
        return
    run_play()


def ensure_host() -> None:
    """Bring up the empty machine, reachable over SSH by a key of the testbed."""
    site = load(SITE)
    _ensure_ssh_key()
    docker.ensure_network()
    docker.ensure_container(
        docker.Container(
            CONTAINER,
            SUBMISSION.ensure(),
            address=site.slurm.submission_address,
            aliases=(site.slurm.submission_host,),
            mounts={
                SSH_KEY.with_suffix(".pub"): "/root/.ssh/authorized_keys:ro",
                **storage.source_mounts(site),
            },
            # systemd needs these options of a container. For the shares of processor time see testbed/slurm.py.
            options=(
                *("--privileged", "--cgroupns", "private", "--cpu-shares", "2048"),
                *("--tmpfs", "/run:exec", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"),  # noqa: S108
            ),
            inputs=(content.digest(SSH_KEY.with_suffix(".pub")),),
        )
    )
    waiting.until(
        "the submission host's sshd runs", functools.partial(_is_active, "ssh.service"), seconds=READY_SECONDS
    )
    _note_host_key(site.slurm.submission_address)


def run_play(*, check: bool = False) -> ansible.Play:
    """Run the play on the host. Raises ``RuntimeError`` that names the failed task, or units that are not active."""
    variables = {
        "ansible_ssh_private_key_file": str(SSH_KEY),
        "ansible_ssh_common_args": SSH_OPTIONS,
        "directory_client_authority_file": str(certificate_authority()),
        "slurm_client_configuration_file": str(slurm.SLURM_CONFIGURATION),
        "slurm_client_munge_key_file": str(slurm.munge_key()),
        **bundle.variables(),
        "gateway_hub_token_file": str(_hub_token()),
        **{name: str(path) for name, path in _certificate().items()},
    }
    result = ansible.play("testbed", variables, check=check)
    process.say(f"{result.changes} tasks changed something: {', '.join(result.changed)}")
    if not check:
        if stopped := [unit for unit in UNITS if not _is_active(unit)]:
            raise RuntimeError(
                f"after the play, {', '.join(stopped)} is not active: docker exec {CONTAINER} journalctl"
            )
        docker.execute(CONTAINER, ["tee", STAMP], standard_input=_digest())
    return result


def _hub_token() -> Path:
    path, _ = hub.service_token(Backend.SLURM)
    return path


def _certificate() -> Mapping[str, Path]:
    """Return the arguments of the play with the proxy's certificate; none for a site without one."""
    gateway = load(SITE).slurm
    if gateway.tls is None or gateway.tls.host_certificate is None:
        return {}
    certificate, key = server_certificate(gateway.submission_host, gateway.host, gateway.proxy_host)
    return {"gateway_certificate": certificate, "gateway_certificate_key": key}


def _digest() -> str:
    files = (SITE, certificate_authority(), slurm.SLURM_CONFIGURATION, slurm.munge_key(), _hub_token())
    inputs = (*files, *_certificate().values())
    return content.digest(ROOT / "ansible", *bundle.variables().values(), *inputs)


def _is_made() -> bool:
    noted = process.succeeds(["docker", "exec", CONTAINER, "grep", "-qx", _digest(), STAMP])
    return noted and all(map(_is_active, UNITS))


def _is_active(unit: str) -> bool:
    # Of several units, systemctl tells whether one is active.
    return process.succeeds(["docker", "exec", CONTAINER, "systemctl", "--quiet", "is-active", unit])


def _ensure_ssh_key() -> None:
    if not SSH_KEY.is_file():
        SSH_KEY.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f", SSH_KEY])


def _note_host_key(address: str) -> None:
    """Read the host's key over docker, which no other machine can intercept."""
    key = docker.execute(CONTAINER, ["cat", "/etc/ssh/ssh_host_ed25519_key.pub"])
    KNOWN_HOSTS.write_text(f"{address} {key}")
