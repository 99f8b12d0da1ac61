"""The Pulumi stack on the testbed: the real ``pulumi up`` of the real program, with a file back end.

A copy of ``Pulumi.testbed.yaml`` gets the testbed's images, certificate authority and (encrypted) JupyterHub token. It
lies beside the back end's files, because all of them describe one cluster and are deleted with it.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import requests
import yaml

from gateway import site
from release import content, process
from release.paths import PROJECT, ROOT
from testbed import certificates, cluster, hub, secret_files, waiting
from testbed.images.table import ENVIRONMENT, SERVER, TRAEFIK
from testbed.paths import KUBECONFIG, SITE
from testbed.public_names import ADDRESS
from testbed.toolchain import pulumi

STACK = "testbed"
WORKSPACE = pulumi.STACK_STATE / "project"
"""Directory to which ``pulumi stack init`` and ``pulumi config`` write, so that the clone stays as it is."""
CONFIGURATION = WORKSPACE / f"Pulumi.{STACK}.yaml"
RECORD = pulumi.STACK_STATE / "deployed"
"""File with the digest of everything that the last complete deployment was made from."""
LOCKS = pulumi.STACK_STATE / ".pulumi" / "locks"
CHECKPOINT = pulumi.STACK_STATE / ".pulumi" / "stacks" / PROJECT / f"{STACK}.json"
INPUTS = (ROOT / "infra", ROOT / "gateway", ROOT / "Pulumi.yaml", ROOT / f"Pulumi.{STACK}.yaml", SITE)
SECONDS_TO_ANSWER = 120
ANSWERS_IN_A_ROW = 3
"""Traefik may still send a request to an API pod that has just ended, so several answers in a row count."""


def ensure_stack() -> None:
    """Deploy the stack if one of its inputs has changed; wait until the API answers under its public name."""
    images = {image.name: image.ensure() for image in (SERVER, ENVIRONMENT, TRAEFIK)}
    token = hub.service_token(site.Backend.KUBERNETES)[0].read_text()
    authority = certificates.certificate_authority().read_text()
    digest = content.digest(*INPUTS, json.dumps(images), token, authority)
    if _recorded() == digest and _answers():
        process.say("the stack is deployed and answers")
        return
    cluster.ensure_images(images.values())
    cluster.ensure_namespace(site.load(SITE).kubernetes.namespace)
    RECORD.unlink(missing_ok=True)
    _initialise()
    _configure(images, authority, token)
    _recover()
    _deploy()
    _ensure_certificates()
    _wait_until_it_answers()
    _wait_until_quotas_count()
    RECORD.write_text(digest)


def preview_shows_no_change() -> bool:
    """Return whether ``pulumi preview`` plans no change. Raises :class:`process.CommandError`."""
    shown = json.loads(_capture(["preview", "--json", *_selected()], directory=ROOT))
    summary: Mapping[str, int] = shown["changeSummary"]
    process.say(f"preview: {json.dumps(summary)}")
    return set(summary) <= {"same"}


def _recorded() -> str | None:
    return RECORD.read_text() if RECORD.is_file() else None


def _initialise() -> None:
    """Have a stack in the back end, and the configuration that goes with it."""
    if not CHECKPOINT.is_file():
        WORKSPACE.mkdir(parents=True, exist_ok=True)
        CONFIGURATION.unlink(missing_ok=True)
        shutil.copyfile(ROOT / "Pulumi.yaml", WORKSPACE / "Pulumi.yaml")
        _run(["stack", "init", STACK, "--secrets-provider", "passphrase", "--no-select"], directory=WORKSPACE)


def _recover() -> None:
    """Remove what an interrupted deployment leaves in the state: its lock and its pending creates.

    No two deployments run at the same time, so the lock is stale. Objects that the interrupted deployment did create
    are not in the state afterwards; the next deployment adopts them.
    """
    if any(LOCKS.rglob("*.json")):
        process.say("an earlier deployment was interrupted; removing its lock and pending creates")
        _run(["cancel", STACK, "--yes"], directory=WORKSPACE)
        _run(["refresh", "--yes", "--skip-preview", "--clear-pending-creates", *_selected()], directory=ROOT)


def _configure(images: Mapping[str, str], authority: str, token: str) -> None:
    written = yaml.safe_load(CONFIGURATION.read_text())
    settings = yaml.safe_load((ROOT / CONFIGURATION.name).read_text())
    settings["encryptionsalt"] = written["encryptionsalt"]
    settings["config"][f"{PROJECT}:images"] = dict(images)
    settings["config"][f"{PROJECT}:directory-ca"] = authority
    CONFIGURATION.write_text(yaml.safe_dump(settings))
    _run(["config", "set", "--secret", "--stack", STACK, "hub-token"], directory=WORKSPACE, standard_input=token)


def _deploy() -> None:
    # Refresh, because a person may have changed or deleted objects by hand.
    _run(["up", "--yes", "--skip-preview", "--refresh", "--suppress-outputs", *_selected()], directory=ROOT)


def _ensure_certificates() -> None:
    """Have the Secrets with the certificates of both gateways' addresses, which the Ingresses name."""
    described = site.load(SITE)
    for gateway in (described.kubernetes, described.slurm):
        if gateway.tls is None or gateway.tls.secret_name is None:
            continue
        certificate, key = certificates.server_certificate(gateway.host)
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": gateway.tls.secret_name, "namespace": described.kubernetes.namespace},
            "stringData": {"tls.crt": certificate.read_text(), "tls.key": key.read_text()},
        }
        cluster.kubectl(
            *("apply", "--server-side", "--force-conflicts", "--field-manager=testbed", "--filename=-"),
            standard_input=json.dumps(secret),
        )


def _selected() -> list[str]:
    return ["--stack", STACK, "--config-file", str(CONFIGURATION)]


def _run(arguments: list[str], *, directory: Path, standard_input: str | None = None) -> None:
    process.run(
        [pulumi.ensure(), "--non-interactive", "--color", "never", *arguments],
        environment=_environment(),
        directory=directory,
        standard_input=standard_input,
    )


def _capture(arguments: list[str], *, directory: Path) -> str:
    return process.capture(
        [pulumi.ensure(), "--non-interactive", *arguments], environment=_environment(), directory=directory
    )


def _environment() -> dict[str, str]:
    passphrase = secret_files.ensure("pulumi-passphrase")[0]
    return {
        **pulumi.environment(),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
        "KUBECONFIG": str(KUBECONFIG),
    }


def _wait_until_it_answers() -> None:
    waiting.until(
        f"the gateway's API answers at {site.load(SITE).kubernetes.address}",
        lambda: all(_answers() for _ in range(ANSWERS_IN_A_ROW)),
        seconds=SECONDS_TO_ANSWER,
    )


def _wait_until_quotas_count() -> None:
    """Wait until Kubernetes has counted all that ResourceQuotas name: before, it refuses new objects."""
    namespace = site.load(SITE).kubernetes.clusters_namespace

    def all_counted() -> bool:
        found = cluster.kubectl("--namespace", namespace, "get", "resourcequotas", "--output", "json")
        return all(
            quota["spec"]["hard"].keys() == quota.get("status", {}).get("used", {}).keys()
            for quota in json.loads(found)["items"]
        )

    waiting.until("Kubernetes has counted the objects of the quota", all_counted, seconds=SECONDS_TO_ANSWER)


def _answers() -> bool:
    """Return whether a route answers through the ingress controller, whose readiness alone does not tell that."""
    gateway = site.load(SITE).kubernetes
    try:
        response = requests.get(f"http://{ADDRESS}/api/health", headers={"Host": gateway.host}, timeout=5)
    except requests.RequestException:
        return False
    return response.status_code == 200 and "pass" in response.text
