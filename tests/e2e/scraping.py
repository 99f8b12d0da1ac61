"""The metrics of a gateway's real processes, read where Prometheus reads them.

``test_metrics`` uses it for the metrics themselves, the load tests (through :mod:`tests.e2e.load`) for the lag of event
loops.
"""

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from gateway import settings
from gateway.kubernetes import names
from gateway.site import Backend
from testbed import submission
from tests.e2e.fetching import fetch_in_container, fetch_in_pod
from tests.e2e.machines import RELEASE, SETTINGS, kubectl


def of_pods() -> dict[str, str]:
    """Return pod -> metrics, of the API servers and the controller."""
    address = f"http://127.0.0.1:{names.METRICS_PORT}{settings.METRICS_PATH}"
    selector = f"app.kubernetes.io/instance={RELEASE},{names.COMPONENT_LABEL} in (api,controller)"
    found = kubectl("get", "pods", "--selector", selector, "--field-selector", "status.phase=Running", "-o", "name")
    return {pod: _good(*fetch_in_pod(pod, address)) for pod in found.split()}


def of_submission_host() -> dict[str, str]:
    """Return the submission host's container -> metrics of the SLURM gateway's server."""
    address = f"http://127.0.0.1:{SETTINGS.slurm.metrics_port}{settings.METRICS_PATH}"
    python = f"{SETTINGS.slurm.install_directory}/bin/python"
    return {submission.CONTAINER: _good(*fetch_in_container(submission.CONTAINER, python, address))}


def _good(status: int, text: str) -> str:
    assert status == 200, text
    return text


READERS: dict[Backend, Callable[[], dict[str, str]]] = {
    Backend.KUBERNETES: of_pods,
    Backend.SLURM: of_submission_host,
}
"""By back end: a function that returns process -> metrics."""


def value_in(text: str, name: str, **labels: str) -> float:
    """Return the sum of the samples that have these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def value(backend: Backend, /, name: str, **labels: str) -> float:
    """Return the sum of the samples that have these labels, over all processes of a gateway."""
    return sum(value_in(text, name, **labels) for text in READERS[backend]().values())
