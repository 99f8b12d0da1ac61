"""What Prometheus reads of the real processes; and that users read none of it."""

from collections.abc import Callable

import pytest

from gateway.service import metrics
from gateway.site import Backend
from release import process
from testbed.waiting import until
from tests.e2e import notebooks
from tests.e2e.administration import SETTINGS, fetch
from tests.e2e.notebooks import CellError, Notebook
from tests.e2e.scraping import READERS, value, value_in

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

COUNT_SECONDS = 15
"""For the controller's news to reach the API server, or the other way round."""


def rises(gateway: Backend, before: float, name: str, **labels: str) -> None:
    until(f"{name} {labels} has risen", lambda: value(gateway, name, **labels) > before, seconds=COUNT_SECONDS)


def test_a_failed_start_is_counted_by_its_cause(backend: Backend, open_notebook: Callable[[str], Notebook]) -> None:
    series = {"name": "dask_gateway_start_failures_total", "backend": backend.value}
    others = {"name": "dask_gateway_start_failures_total", "cause": "other"}
    before, others_before = value(backend, **series, cause="preflight"), value(backend, **others)
    with pytest.raises(CellError):
        open_notebook("alice").run(notebooks.new_cluster({"pixi_project": "/depot/cms/projects/nowhere"}))
    rises(backend, before, **series, cause="preflight")
    assert value(backend, **others) == others_before


def test_the_end_of_a_cluster_is_counted_and_names_nobody(
    backend: Backend, open_notebook: Callable[[str], Notebook]
) -> None:
    series = {"name": "dask_gateway_clusters_ended_total", "backend": backend.value, "cause": "user"}
    before = value(backend, **series)
    kernel = open_notebook("alice")
    name = kernel.run(notebooks.new_cluster(notebooks.SMALL))
    kernel.run("cluster.shutdown()")
    rises(backend, before, **series)
    for text in READERS[backend]().values():
        assert name.rpartition(".")[2] not in text
        assert "alice" not in text


def test_each_process_watches_its_event_loop(backend: Backend) -> None:
    name = "dask_gateway_event_loop_lag_seconds_count"
    first = {place: value_in(text, name) for place, text in READERS[backend]().items()}
    assert len(first) == (SETTINGS.kubernetes.api_replicas + 1 if backend is Backend.KUBERNETES else 1)

    def all_go_on() -> bool:
        return all(value_in(text, name) > first[place] for place, text in READERS[backend]().items())

    until("every process goes on", all_go_on, seconds=COUNT_SECONDS)


def test_requests_are_counted_by_route(backend: Backend) -> None:
    series = {"name": "dask_gateway_request_duration_seconds_count", "route": "/api/version", "status": "2xx"}
    before = value(backend, **series)
    assert fetch(f"{SETTINGS.gateway(backend).address}/api/version")[0] == 200
    rises(backend, before, **series)


def test_users_do_not_reach_metrics_through_the_gateway(backend: Backend) -> None:
    assert fetch(f"{SETTINGS.gateway(backend).address}{metrics.PATH}")[0] == 404


@pytest.mark.parametrize("backend", [Backend.SLURM], indirect=True, scope="session", ids=str)
def test_the_submission_host_serves_them_to_itself_alone(backend: Backend) -> None:
    host, port = SETTINGS.slurm.submission_address, SETTINGS.slurm.metrics_port
    with pytest.raises(process.CommandError, match="Connection refused"):
        fetch(f"http://{host}:{port}{metrics.PATH}")
