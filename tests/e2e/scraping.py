"""The metrics of a gateway's real processes, read as Prometheus reads them."""

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from gateway import settings
from gateway.kubernetes import names
from gateway.site import Backend
from testbed import docker, submission
from tests.e2e.administration import SETTINGS, kubectl

READ = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=15).read().decode())"


def of_pods() -> dict[str, str]:
    address = f"http://127.0.0.1:{names.METRICS_PORT}{settings.METRICS_PATH}"
    selector = f"app.kubernetes.io/instance={SETTINGS.kubernetes.release},{names.COMPONENT_LABEL} in (api,controller)"
    found = kubectl("get", "pods", "--selector", selector, "--field-selector", "status.phase=Running", "-o", "name")
    return {pod: kubectl("exec", pod, "--", "python", "-c", READ, address) for pod in found.split()}


def of_submission_host() -> dict[str, str]:
    address = f"http://127.0.0.1:{SETTINGS.slurm.metrics_port}{settings.METRICS_PATH}"
    python = f"{SETTINGS.slurm.install_directory}/bin/python"
    return {submission.CONTAINER: docker.execute(submission.CONTAINER, [python, "-c", READ, address])}


READERS: dict[Backend, Callable[[], dict[str, str]]] = {
    Backend.KUBERNETES: of_pods,
    Backend.SLURM: of_submission_host,
}
"""Process -> its metrics."""


def value_in(text: str, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def value(gateway: Backend, name: str, **labels: str) -> float:
    """The same, over all of a gateway's processes."""
    return sum(value_in(text, name, **labels) for text in READERS[gateway]().values())
