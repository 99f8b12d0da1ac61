"""What holds for gateways that have much to do."""

import contextlib

from gateway.site import Backend
from testbed.waiting import until
from tests.e2e import scraping
from tests.e2e.administration import Administrator

LAG_SECONDS = 2.5
"""The first bound of the histogram (gateway/service/metrics.py) above the 2 s that probes and lease wait for an answer
(infra/workload.py, gateway/kubernetes/controller/lease.py): a process whose loop is blocked for longer fails
both. On two cores with ten times as much to do, a burst of creations was seen to take half a second to one.
"""
GONE_SECONDS = 300
"""Kubernetes' garbage collector removes what a scheduler owned, 20 requests a second."""


def late_wakes(backend: Backend) -> dict[str, float]:
    """Process of a gateway -> how often its event loop was late by more than the bound."""
    name = "dask_gateway_event_loop_lag_seconds"
    return {
        process: scraping.value_in(text, f"{name}_count")
        - scraping.value_in(text, f"{name}_bucket", le=str(LAG_SECONDS))
        for process, text in scraping.READERS[backend]().items()
    }


def orphans(administrator: Administrator, before: set[str]) -> set[str]:
    """What there is now and was not before, without the records of clusters that are over."""
    return {name for name in administrator.everything() - before if not name.startswith("daskcluster.")}


def no_orphans(administrator: Administrator, before: set[str]) -> None:
    """Nothing is left, or is within the bound."""
    with contextlib.suppress(TimeoutError):
        until("nothing is left", lambda: not orphans(administrator, before), seconds=GONE_SECONDS)
    assert orphans(administrator, before) == set()
