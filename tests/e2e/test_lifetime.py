"""How clusters end by themselves (section 5 of the user guide), at gateways whose site has seconds in place of hours.

The tests compare times that gateway and notebook record, so that a busy machine changes no result.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml

from gateway.kubernetes import names
from gateway.site import Backend
from testbed import docker, stack, submission
from testbed.waiting import until
from tests.e2e import notebooks
from tests.e2e.administration import ADMINISTRATORS, DASK_CLUSTERS
from tests.e2e.failures import collected_before_cleanup
from tests.e2e.fetching import answers
from tests.e2e.machines import (
    API,
    CONTROLLER,
    RELEASE,
    SETTINGS,
    await_rollout,
    kubectl,
    kubectl_clusters,
    object_name,
    restart_deployments,
)
from tests.e2e.notebooks import Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

# Not the session's fixture `backend`: so pytest runs these tests last. They end the clusters that other tests share.
both = pytest.mark.parametrize("kind", list(Backend), ids=str)
SITE_MAP = f"site-{RELEASE}"
SITE_FILE = "/etc/dask-gateway/site.yaml"
LIFETIME_SECONDS = 60
GONE_SECONDS = 15
TOLERANCE_SECONDS = 2
"""The last scheduler report can be a twentieth of :data:`GONE_SECONDS` old, and Kubernetes' times are whole seconds."""


class KubernetesSite:
    """The site file of the Kubernetes gateway."""

    def read(self) -> str:
        (text,) = json.loads(kubectl("get", "configmap", SITE_MAP, "--output", "json"))["data"].values()
        return str(text)

    def write(self, text: str) -> None:
        data = json.dumps({"data": {"site.yaml": text}})
        kubectl("patch", "configmap", SITE_MAP, "--type", "merge", "--patch", data)
        restart_deployments(CONTROLLER, API)

    def take_record(self) -> str:
        """Remove and return the record of the deployment: `make testbed` then deploys the testbed's own site."""
        text = stack.RECORD.read_text()
        stack.RECORD.unlink()
        return text

    def put_record(self, text: str) -> None:
        stack.RECORD.write_text(text)


class SlurmSite:
    """The site file of the SLURM gateway."""

    def read(self) -> str:
        return docker.execute(submission.CONTAINER, ["cat", SITE_FILE])

    def write(self, text: str) -> None:
        docker.execute(submission.CONTAINER, ["tee", SITE_FILE], standard_input=text)
        docker.execute(submission.CONTAINER, ["systemctl", "restart", "dask-gateway"])

    def take_record(self) -> str:
        """Remove and return the record of the play: `make testbed` then runs the play."""
        text = docker.execute(submission.CONTAINER, ["cat", submission.STAMP])
        docker.execute(submission.CONTAINER, ["rm", submission.STAMP])
        return text

    def put_record(self, text: str) -> None:
        docker.execute(submission.CONTAINER, ["tee", submission.STAMP], standard_input=text)


SITES = {Backend.KUBERNETES: KubernetesSite(), Backend.SLURM: SlurmSite()}


@contextmanager
def shortened(kind: Backend, **timeouts: int) -> Iterator[None]:
    """Give a gateway a site with other timeouts, and restore its own site at the end."""
    text = SITES[kind].read()
    changed = yaml.safe_load(text)
    changed[kind.value]["timeouts"].update(timeouts)
    record = SITES[kind].take_record()
    try:
        _deploy(kind, yaml.safe_dump(changed))
        # The restart that restores the site removes the pods of the changed gateway with their logs.
        with collected_before_cleanup(kind, f"shortened-{kind.value}"):
            yield
    finally:
        _deploy(kind, text)
        SITES[kind].put_record(record)


def _deploy(kind: Backend, text: str) -> None:
    SITES[kind].write(text)
    until("the gateway answers", lambda: answers(kind), seconds=60)


def recorded_reasons(kind: Backend, name: str) -> str:
    """Return what Kubernetes or the gateway's journal records about the end of a cluster."""
    if kind is Backend.KUBERNETES:
        record = json.loads(kubectl_clusters("get", DASK_CLUSTERS, object_name(name), "--output", "json"))
        return f"{record['status']['phase']}: {record['status']['reason']}"
    lines = docker.execute(
        submission.CONTAINER, ["journalctl", "--no-pager", "--unit", "dask-gateway", "--since", "-10min"]
    )
    return "\n".join(line for line in lines.splitlines() if name in line)


def recorded_times(kernel: Notebook, name: str) -> tuple[float, float]:
    """Return start and stop of a cluster that has ended, as the gateway records them, in seconds since the epoch."""
    code = (
        "[(report.start_time.timestamp(), report.stop_time and report.stop_time.timestamp())"
        f" for report in gateway.list_clusters(status=['stopped', 'failed']) if report.name == {name!r}]"
    )
    # The gateway records the stop after it has removed the cluster's objects.
    until("the gateway lists the cluster as ended", lambda: bool(kernel.run(code)), seconds=30)
    ((start, stop),) = kernel.run(code)
    return start, stop


def kill(kernel: Notebook) -> float:
    """End a notebook as a crash does, so that it closes nothing; returns the last time that its clock has shown."""
    last = float(kernel.run("import os, signal, time\ntime.time()"))
    with pytest.raises(AssertionError, match="no answer"):
        kernel.run("os.kill(os.getpid(), signal.SIGKILL)", seconds=20)
    return last


@both
def test_a_cluster_ends_at_its_lifetime(kind: Backend) -> None:
    """The lifetime counts from the cluster's creation, also when the gateway restarts in between."""
    administrator = ADMINISTRATORS[kind]
    with shortened(kind, lifetime_seconds=LIFETIME_SECONDS), notebooks.connected("bob", kind) as kernel:
        name = notebooks.start_cluster(kernel)
        if kind is Backend.KUBERNETES:
            restart_deployments(CONTROLLER)
        else:
            docker.execute(submission.CONTAINER, ["systemctl", "restart", "dask-gateway"])
        assert administrator.object_kinds(name)
        administrator.await_end(name, seconds=LIFETIME_SECONDS + 60)
        start, stop = recorded_times(kernel, name)
    assert stop - start >= LIFETIME_SECONDS
    assert f"The cluster has reached its lifetime of {LIFETIME_SECONDS} s." in recorded_reasons(kind, name)


@both
def test_a_cluster_ends_when_its_last_notebook_has_gone(kind: Backend) -> None:
    """An idle notebook keeps the cluster while it lives, with or without a client, and so does a second notebook."""
    administrator = ADMINISTRATORS[kind]
    with shortened(kind, client_gone_seconds=GONE_SECONDS), Notebook("bob") as first, Notebook("bob") as second:
        notebooks.connect(first, kind)
        name = first.run(notebooks.new_cluster(notebooks.SMALL))
        first.run("import os\ncluster.scale(1)")
        time.sleep(2 * GONE_SECONDS)
        assert administrator.object_kinds(name) & {"job", "pod"}

        notebooks.connect(second, kind)
        second.run(f"import os\nclient = gateway.connect({name!r}).get_client()")
        kill(first)
        time.sleep(2 * GONE_SECONDS)
        assert second.run("client.submit(sum, [1, 2]).result(timeout=30)") == 3

        gone = kill(second)
        administrator.await_end(name, seconds=GONE_SECONDS + 60)
        with notebooks.connected("bob", kind) as third:
            _, stop = recorded_times(third, name)
    assert stop - gone >= GONE_SECONDS - TOLERANCE_SECONDS
    assert f"No client was connected to the cluster for {GONE_SECONDS} s." in recorded_reasons(kind, name)


def test_a_cluster_in_use_outlives_a_long_outage_of_the_api() -> None:
    """During the outage no report of a client arrives. Afterwards a cluster whose notebook has gone still ends."""
    kind = Backend.KUBERNETES
    administrator = ADMINISTRATORS[kind]
    with shortened(kind, client_gone_seconds=GONE_SECONDS), Notebook("bob") as kernel, Notebook("bob") as leaving:
        notebooks.connect(kernel, kind)
        used = notebooks.start_cluster(kernel)
        notebooks.connect(leaving, kind)
        abandoned = leaving.run(f"import os\n{notebooks.new_cluster(notebooks.SMALL)}")
        with _api_away():
            kill(leaving)
            time.sleep(2 * GONE_SECONDS)
            assert kernel.run("client.submit(sum, [1, 2]).result(timeout=30)") == 3
            assert administrator.object_kinds(abandoned), "the gateway ended a cluster without knowing its clients"
        administrator.await_end(abandoned, seconds=GONE_SECONDS + 90)
        assert administrator.object_kinds(used)
        assert kernel.run("client.submit(sum, [2, 3]).result(timeout=30)") == 5


@contextmanager
def _api_away() -> Iterator[None]:
    """Scale the API to no replicas."""
    selector = names.selector(names.component_labels(RELEASE, names.API_COMPONENT))
    try:
        kubectl("scale", API, "--replicas", "0")
        kubectl("wait", "--for", "delete", "pods", "--selector", selector, "--timeout", "60s")
        yield
    finally:
        kubectl("scale", API, "--replicas", str(SETTINGS.kubernetes.api_replicas))
        await_rollout(API)
