"""HTTP requests from places inside the testbed's networks: the notebook container, pods, the submission host.

Tests use them for addresses that need no kernel of a user: health, dashboards, refused tokens, metrics. ``conftest``
uses them to tell whether a gateway is up.
"""

import json
from collections.abc import Mapping

from gateway.site import Backend
from release import process
from testbed import cluster, docker, notebook
from tests.e2e.machines import SETTINGS

FETCH = (
    "import json, sys, urllib.error, urllib.request\n"
    "address, headers = json.load(sys.stdin)\n"
    "try:\n"
    "    answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=15)\n"
    "except urllib.error.HTTPError as error:\n"
    "    answer = error\n"
    "print(json.dumps([answer.status, answer.read().decode(errors='replace')]))\n"
)
"""Python that reads address and headers from standard input: other users of a machine see its processes' arguments."""


def fetch(address: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Return status and text that an address answers to the notebook container.

    Raises :class:`release.process.CommandError` when there is no HTTP answer; so do the functions below.
    """
    return fetch_in_container(notebook.NAME, "python3", address, headers)


def by_https(address: object) -> str:
    """Return the https address of a dashboard. A browser is sent there; a program that asks by http is refused."""
    return str(address).replace("http://", "https://", 1)


def fetch_in_container(
    container: str, python: str, address: str, headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Return what an address answers to a container that has the interpreter ``python``."""
    return _answer(docker.execute(container, [python, "-c", FETCH], standard_input=_question(address, headers)))


def fetch_in_pod(pod: str, address: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Return what an address answers to a pod of the Kubernetes gateway (``NAME`` or ``pod/NAME``)."""
    command = ("--namespace", SETTINGS.kubernetes.namespace, "exec", "--stdin", pod, "--", "python", "-c", FETCH)
    return _answer(cluster.kubectl(*command, standard_input=_question(address, headers)))


def _question(address: str, headers: Mapping[str, str] | None) -> str:
    return json.dumps([address, dict(headers or {})])


def _answer(text: str) -> tuple[int, str]:
    status, body = json.loads(text)
    return status, body


def answers(backend: Backend) -> bool:
    """Return whether a gateway answers under its public name, three times in a row: it can have several replicas."""
    health = f"{SETTINGS.gateway(backend).address}/api/health"
    try:
        return all(fetch(health)[0] == 200 for _ in range(3))
    except process.CommandError:
        return False
