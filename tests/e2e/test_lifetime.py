"""The lifetime of clusters on Kubernetes, with a gateway for whose site a day is shorter."""

import json
import time
from collections.abc import Iterator

import notebooks
import pytest
import yaml
from administration import SETTINGS, KubernetesAdministrator
from notebooks import Notebook

from gateway.kubernetes import names
from gateway.site import Backend
from testbed import cluster, stack
from testbed.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

GATEWAY = SETTINGS.kubernetes
LIFETIME_SECONDS = 60
CONTROLLER = f"deployment/{names.controller_name(GATEWAY.release)}"
SITE_MAP = f"site-{GATEWAY.release}"


def _kubectl(*arguments: str) -> str:
    return cluster.kubectl("--namespace", GATEWAY.namespace, *arguments)


def _deploy(text: str) -> None:
    """Give the controller another site."""
    (key,) = json.loads(_kubectl("get", "configmap", SITE_MAP, "--output", "json"))["data"]
    _kubectl("patch", "configmap", SITE_MAP, "--type", "merge", "--patch", json.dumps({"data": {key: text}}))
    _kubectl("rollout", "restart", CONTROLLER)
    _kubectl("rollout", "status", CONTROLLER, "--timeout", "120s")


@pytest.fixture
def short_day() -> Iterator[None]:
    """A controller that ends clusters after :data:`LIFETIME_SECONDS`."""
    deployed = stack.RECORD.read_text()
    (text,) = json.loads(_kubectl("get", "configmap", SITE_MAP, "--output", "json"))["data"].values()
    changed = yaml.safe_load(text)
    changed["kubernetes"]["timeouts"]["lifetime_seconds"] = LIFETIME_SECONDS
    # Should this be interrupted, the next `make testbed` deploys the real site.
    stack.RECORD.unlink()
    _deploy(yaml.safe_dump(changed))
    try:
        yield
    finally:
        _deploy(text)
    stack.RECORD.write_text(deployed)


def test_a_cluster_ends_with_its_day_whoever_controls(short_day: None) -> None:
    """Counted from its creation: a restart of the controller in between changes nothing."""
    administrator = KubernetesAdministrator()
    with Notebook("bob") as kernel:
        kernel.snippet(f"connect-{Backend.KUBERNETES.value}")
        started = time.monotonic()
        name = kernel.run(notebooks.new_cluster(notebooks.SMALL))
        kernel.run(notebooks.connect())
        _kubectl("rollout", "restart", CONTROLLER)
        _kubectl("rollout", "status", CONTROLLER, "--timeout", "120s")
        assert "pod" in administrator.pieces(name)
        until("the cluster has ended", lambda: not administrator.pieces(name), seconds=LIFETIME_SECONDS + 60)
        assert time.monotonic() - started > LIFETIME_SECONDS - 5
    status = json.loads(_kubectl("get", "daskclusters.gateway.dask.org", name.rpartition(".")[2], "--output", "json"))
    assert status["status"]["phase"] == "Stopped"
    assert status["status"]["reason"] == f"The cluster has reached its lifetime of {LIFETIME_SECONDS} s."
