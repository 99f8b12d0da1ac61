"""How clusters end by themselves (section 5 of the user guide), at gateways for whose site hours are seconds."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import yaml

from gateway.kubernetes import names
from gateway.site import Backend
from testbed import docker, stack, submission
from testbed.waiting import until
from tests.e2e import notebooks
from tests.e2e.administration import ADMINISTRATORS, SETTINGS, collected_at_once, fetch, kubectl
from tests.e2e.notebooks import Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

# Not the fixture `backend`: these come last, because they would end the clusters that other tests share.
both = pytest.mark.parametrize("kind", list(Backend), ids=str)
RELEASE = SETTINGS.kubernetes.release
CONTROLLER = f"deployment/{names.controller_name(RELEASE)}"
API = f"deployment/{names.api_name(RELEASE)}"
SITE_MAP = f"site-{RELEASE}"
SITE_FILE = "/etc/dask-gateway/site.yaml"
LIFETIME_SECONDS = 60
GONE_SECONDS = 15


def _restart(*deployments: str) -> None:
    kubectl("rollout", "restart", *deployments)
    for deployment in deployments:
        kubectl("rollout", "status", deployment, "--timeout", "120s")


class KubernetesSite:
    """The site that the Kubernetes gateway has."""

    def read(self) -> str:
        (text,) = json.loads(kubectl("get", "configmap", SITE_MAP, "--output", "json"))["data"].values()
        return str(text)

    def write(self, text: str) -> None:
        data = json.dumps({"data": {"site.yaml": text}})
        kubectl("patch", "configmap", SITE_MAP, "--type", "merge", "--patch", data)
        _restart(CONTROLLER, API)

    def take_record(self) -> str:
        """Have the next `make testbed` deploy the real site."""
        text = stack.RECORD.read_text()
        stack.RECORD.unlink()
        return text

    def put_record(self, text: str) -> None:
        stack.RECORD.write_text(text)


class SlurmSite:
    """The site that the SLURM gateway has."""

    def read(self) -> str:
        return docker.execute(submission.CONTAINER, ["cat", SITE_FILE])

    def write(self, text: str) -> None:
        docker.execute(submission.CONTAINER, ["tee", SITE_FILE], standard_input=text)
        docker.execute(submission.CONTAINER, ["systemctl", "restart", "dask-gateway"])

    def take_record(self) -> str:
        """Have the next `make testbed` run the play."""
        text = docker.execute(submission.CONTAINER, ["cat", submission.STAMP])
        docker.execute(submission.CONTAINER, ["rm", submission.STAMP])
        return text

    def put_record(self, text: str) -> None:
        docker.execute(submission.CONTAINER, ["tee", submission.STAMP], standard_input=text)


SITES = {Backend.KUBERNETES: KubernetesSite(), Backend.SLURM: SlurmSite()}


@contextmanager
def shorter(kind: Backend, **timeouts: int) -> Iterator[None]:
    """Give a gateway a site with other bounds of time, and its own again at the end."""
    text = SITES[kind].read()
    changed = yaml.safe_load(text)
    changed[kind.value]["timeouts"].update(timeouts)
    record = SITES[kind].take_record()
    try:
        _deploy(kind, yaml.safe_dump(changed))
        # Kubernetes takes the logs of what runs meanwhile away with it.
        with collected_at_once(ADMINISTRATORS[kind](), f"shorter-{kind.value}"):
            yield
    finally:
        _deploy(kind, text)
        SITES[kind].put_record(record)


def _deploy(kind: Backend, text: str) -> None:
    SITES[kind].write(text)
    health = f"{SETTINGS.gateway(kind).address}/api/health"
    until("the gateway answers", lambda: all(fetch(health)[0] == 200 for _ in range(3)), seconds=60)


def reasons(kind: Backend, name: str) -> str:
    """What administrators find about the end of a cluster."""
    if kind is Backend.KUBERNETES:
        short = name.rpartition(".")[2]
        record = json.loads(kubectl("get", "daskclusters.gateway.dask.org", short, "--output", "json"))
        return f"{record['status']['phase']}: {record['status']['reason']}"
    lines = docker.execute(
        submission.CONTAINER, ["journalctl", "--no-pager", "--unit", "dask-gateway", "--since", "-10min"]
    )
    return "\n".join(line for line in lines.splitlines() if name in line)


def connected(kernel: Notebook, kind: Backend) -> Notebook:
    kernel.snippet(f"connect-{kind.value}")
    return kernel


def killed(kernels: Sequence[Notebook]) -> None:
    """End notebooks as a crash does: they close nothing."""
    for kernel in kernels:
        with pytest.raises(AssertionError, match="no answer"):
            kernel.run("import signal\nos.kill(os.getpid(), signal.SIGKILL)", seconds=20)


@both
def test_a_cluster_ends_with_its_day_whoever_controls(kind: Backend) -> None:
    """Counted from its creation: a restart of the gateway in between changes nothing."""
    administrator = ADMINISTRATORS[kind]()
    with shorter(kind, lifetime_seconds=LIFETIME_SECONDS), Notebook("bob") as kernel:
        started = time.monotonic()
        name = connected(kernel, kind).run(notebooks.new_cluster(notebooks.SMALL))
        kernel.run(notebooks.connect())
        if kind is Backend.KUBERNETES:
            _restart(CONTROLLER)
        else:
            docker.execute(submission.CONTAINER, ["systemctl", "restart", "dask-gateway"])
        assert administrator.pieces(name)
        until("the cluster has ended", lambda: not administrator.pieces(name), seconds=LIFETIME_SECONDS + 60)
        assert time.monotonic() - started > LIFETIME_SECONDS - 5
    assert f"The cluster has reached its lifetime of {LIFETIME_SECONDS} s." in reasons(kind, name)


@both
def test_a_cluster_ends_when_its_last_notebook_has_gone(kind: Backend) -> None:
    """A quiet notebook that is alive keeps it, with or without a client, and so does a second one."""
    administrator = ADMINISTRATORS[kind]()
    with shorter(kind, client_gone_seconds=GONE_SECONDS), Notebook("bob") as first, Notebook("bob") as second:
        name = connected(first, kind).run(notebooks.new_cluster(notebooks.SMALL))
        first.run("import os\ncluster.scale(1)")
        time.sleep(2 * GONE_SECONDS)
        assert "job" in administrator.pieces(name) or "pod" in administrator.pieces(name)

        connected(second, kind).run(f"import os\nclient = gateway.connect({name!r}).get_client()")
        killed([first])
        time.sleep(2 * GONE_SECONDS)
        assert second.run("client.submit(sum, [1, 2]).result(timeout=30)") == 3

        killed([second])
        gone = time.monotonic()
        until("the cluster has ended", lambda: not administrator.pieces(name), seconds=GONE_SECONDS + 60)
        assert time.monotonic() - gone > GONE_SECONDS - 5
    assert f"No client was connected to the cluster for {GONE_SECONDS} s." in reasons(kind, name)


def test_a_cluster_in_use_outlives_an_api_that_is_away_for_longer() -> None:
    """Nobody can tell meanwhile that a client is connected. A cluster whose notebook has gone ends nevertheless."""
    kind = Backend.KUBERNETES
    administrator = ADMINISTRATORS[kind]()
    with shorter(kind, client_gone_seconds=GONE_SECONDS), Notebook("bob") as kernel, Notebook("bob") as leaving:
        name = connected(kernel, kind).run(notebooks.new_cluster(notebooks.SMALL))
        kernel.run(notebooks.connect())
        left = connected(leaving, kind).run(f"import os\n{notebooks.new_cluster(notebooks.SMALL)}")
        with _api_away():
            killed([leaving])
            time.sleep(2 * GONE_SECONDS)
            assert kernel.run("client.submit(sum, [1, 2]).result(timeout=30)") == 3
            assert administrator.pieces(left), "somebody may have been connected, for all that the gateway knows"
        until("the other cluster has ended", lambda: not administrator.pieces(left), seconds=GONE_SECONDS + 90)
        assert administrator.pieces(name)
        assert kernel.run("client.submit(sum, [2, 3]).result(timeout=30)") == 5


@contextmanager
def _api_away() -> Iterator[None]:
    """Without any replica of the API."""
    selector = names.selector(names.component_labels(RELEASE, names.API_COMPONENT))
    try:
        kubectl("scale", API, "--replicas", "0")
        kubectl("wait", "--for", "delete", "pods", "--selector", selector, "--timeout", "60s")
        yield
    finally:
        kubectl("scale", API, "--replicas", str(SETTINGS.kubernetes.api_replicas))
        kubectl("rollout", "status", API, "--timeout", "120s")
