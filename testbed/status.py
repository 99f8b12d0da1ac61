"""Which parts of the testbed are up, and why the others are down."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway import site
from release import process
from testbed import certificates, cluster, directory, hub, notebook, people, slurm, submission
from testbed.paths import LOGS, SITE
from testbed.toolchain import docker_engine

CONTAINERS = (
    directory.CONTAINER,
    hub.NAME,
    *(f"af-{name}" for name in (slurm.ACCOUNTING, slurm.CONTROLLER, *(node.name for node in slurm.NODES))),
    submission.CONTAINER,
    notebook.NAME,
)


EXAMPLE = "alice"
"""The person whom the summary names."""


@dataclass(frozen=True)
class Finding:
    """State of one part."""

    part: str
    is_up: bool
    detail: str


def show(report: Callable[[str], None]) -> int:
    """Report every part; return 0 when all are up, else 1."""
    findings = list(_findings())
    for finding in findings:
        report(f"{'up  ' if finding.is_up else 'DOWN'}  {finding.part:<34} {finding.detail}")
    if not all(finding.is_up for finding in findings):
        report(f"\n`make testbed` brings up the parts that are down. Its steps' logs are in {LOGS}.")
        return 1
    return 0


def _findings() -> Iterator[Finding]:
    engine = docker_engine.answers()
    yield Finding("Docker engine", engine, "" if engine else "does not answer")
    if not engine:
        return
    for name in (*CONTAINERS, cluster.NODE):
        yield _container(name)
    yield _probe(
        "SLURM nodes", ["docker", "exec", f"af-{slurm.CONTROLLER}", "sinfo", "--noheader", "--format", "%N %T"]
    )
    yield _probe(
        "NetworkPolicies are enforced", ["docker", "exec", cluster.NODE, "systemctl", "is-active", "kube-router"]
    )
    for unit in ("munge.service", *submission.UNITS):
        yield _probe(f"Unit {unit}", ["docker", "exec", submission.CONTAINER, "systemctl", "is-active", unit])
    yield from _deployments()
    settings = site.load(SITE)
    for backend in site.Backend:
        gateway = settings.gateway(backend)
        code = (
            f"import urllib.request as u; print(u.urlopen('{gateway.address}/api/health', timeout=5).read().decode())"
        )
        yield _probe(f"Gateway {gateway.host}", ["docker", "exec", notebook.NAME, "python3", "-c", code])


def _container(name: str) -> Finding:
    template = "{{.State.Status}}{{if .State.ExitCode}}, exit code {{.State.ExitCode}}{{end}}"
    try:
        state = process.capture(["docker", "container", "inspect", "--format", template, name]).strip()
    except process.CommandError:
        return Finding(f"Container {name}", False, "does not exist")
    return Finding(f"Container {name}", state == "running", state)


def _deployments() -> Iterator[Finding]:
    columns = "custom-columns=:metadata.name,:spec.replicas,:status.readyReplicas"
    namespace = site.load(SITE).kubernetes.namespace
    try:
        text = cluster.kubectl("--namespace", namespace, "get", "deployments", "--output", columns, "--no-headers")
    except (process.CommandError, OSError, subprocess.TimeoutExpired) as error:
        yield Finding("Deployments", False, _last_line(str(error)))
        return
    for line in text.splitlines():
        name, wanted, ready = line.split()
        yield Finding(f"Deployment {name}", wanted == ready, f"{0 if ready == '<none>' else ready} of {wanted} ready")


def _probe(part: str, command: list[str]) -> Finding:
    try:
        return Finding(part, True, " ".join(process.capture(command, timeout_seconds=30).split()))
    except process.CommandError as error:
        return Finding(part, False, _last_line(str(error)))
    except subprocess.TimeoutExpired:
        return Finding(part, False, "no answer within 30 s")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:120] if lines else ""


def summary(part: str) -> str:
    """Return the text at the end of ``make testbed``: addresses, people, the commands to go on with."""
    settings = site.load(SITE)
    titles = {site.Backend.KUBERNETES: "Kubernetes", site.Backend.SLURM: "SLURM"}
    lines = []
    for backend, title in titles.items():
        gateway = settings.gateway(backend)
        if part in ("all", backend.value):
            lines += [f"{title:<11} {gateway.address}  schedulers at {gateway.proxy_host}:{gateway.proxy_port}"]
    names = ", ".join(person.name for person in people.load().people)
    lines += [
        f"People      {names}",
        "Next        make demo              run the user guide's snippets on the gateways",
        f"            make shell AS={EXAMPLE}    open a shell in her notebook",
        "            make e2e               run the end-to-end suite",
        "            make testbed-status    show which parts are up",
        "            make testbed-down      remove everything",
        *browser_lines(),
    ]
    return "\n".join(lines)


def browser_lines() -> list[str]:
    """Return how to open JupyterHub and dashboards in a browser; a password is told by its file."""
    return [
        "Browser     make hosts >>/etc/hosts    (as root) gives this machine the gateways' names",
        f"            {hub.ROOT_URL}    JupyterHub: log in as {EXAMPLE},",
        f"                with the password in {hub.password_file(EXAMPLE)}",
        "            cluster.dashboard_link, in a notebook, is the address of a cluster's dashboard",
        f"                its certificate is of the authority {certificates.certificate_path()}",
        "            From another computer: ssh -D 1080 THIS-MACHINE, then in the browser the SOCKS 5 proxy",
        "                localhost:1080, with DNS through the proxy",
    ]
