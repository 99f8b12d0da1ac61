"""The metrics that Prometheus reads from the gateways' processes; users cannot read them."""

from collections.abc import Callable

import pytest

from gateway import settings
from gateway.site import Backend
from release import process
from testbed.waiting import until
from tests.e2e import notebooks
from tests.e2e.back_ends import on_slurm
from tests.e2e.fetching import fetch
from tests.e2e.machines import SETTINGS, object_name
from tests.e2e.notebooks import CellError, Notebook
from tests.e2e.scraping import READERS, value, value_in

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

COUNT_SECONDS = 15
"""Bound on how late the API server learns of a change by the controller, or the controller of one by the server."""


def await_rise(backend: Backend, before: float, /, name: str, **labels: str) -> None:
    until(f"{name} {labels} has risen", lambda: value(backend, name, **labels) > before, seconds=COUNT_SECONDS)


def test_a_failed_start_is_counted_by_its_cause(backend: Backend, open_notebook: Callable[[str], Notebook]) -> None:
    series = {"name": "dask_gateway_start_failures_total", "backend": backend.value}
    others = {"name": "dask_gateway_start_failures_total", "cause": "other"}
    before, others_before = value(backend, **series, cause="preflight"), value(backend, **others)
    with pytest.raises(CellError):
        open_notebook("alice").run(notebooks.new_cluster({"pixi_project": "/depot/cms/projects/nowhere"}))
    await_rise(backend, before, **series, cause="preflight")
    assert value(backend, **others) == others_before


def test_the_end_of_a_cluster_is_counted_without_names(
    backend: Backend, open_notebook: Callable[[str], Notebook]
) -> None:
    series = {"name": "dask_gateway_clusters_ended_total", "backend": backend.value, "cause": "user"}
    before = value(backend, **series)
    kernel = open_notebook("alice")
    name = kernel.run(notebooks.new_cluster(notebooks.SMALL))
    kernel.run("cluster.shutdown()")
    await_rise(backend, before, **series)
    for text in READERS[backend]().values():
        assert object_name(name) not in text
        assert "alice" not in text


def test_each_process_measures_the_lag_of_its_event_loop(backend: Backend) -> None:
    name = "dask_gateway_event_loop_lag_seconds_count"
    first = {place: value_in(text, name) for place, text in READERS[backend]().items()}
    assert len(first) == (SETTINGS.kubernetes.api_replicas + 1 if backend is Backend.KUBERNETES else 1)

    def all_have_measured_again() -> bool:
        return all(value_in(text, name) > first[place] for place, text in READERS[backend]().items())

    until("every process has measured again", all_have_measured_again, seconds=COUNT_SECONDS)


def test_requests_are_counted_by_route(backend: Backend) -> None:
    series = {"name": "dask_gateway_request_duration_seconds_count", "route": "/api/version", "status": "2xx"}
    before = value(backend, **series)
    assert fetch(f"{SETTINGS.gateway(backend).address}/api/version")[0] == 200
    await_rise(backend, before, **series)


def test_users_do_not_reach_metrics_through_the_gateway(backend: Backend) -> None:
    assert fetch(f"{SETTINGS.gateway(backend).address}{settings.METRICS_PATH}")[0] == 404


@on_slurm
def test_the_submission_host_serves_metrics_on_its_loopback_address_only(backend: Backend) -> None:
    host, port = SETTINGS.slurm.submission_address, SETTINGS.slurm.metrics_port
    with pytest.raises(process.CommandError, match="Connection refused"):
        fetch(f"http://{host}:{port}{settings.METRICS_PATH}")
