"""What every load test checks: the gateway's event loops keep up, and nothing is left behind.

``test_load`` (Kubernetes) and ``test_load_slurm`` use it.
"""

from gateway.site import Backend
from tests.e2e import scraping

LAG_SECONDS = 2.5
"""The first bound of the histogram (gateway/service/metrics.py) above the 2 s that probes and lease wait for an answer
(infra/workload.py, gateway/kubernetes/controller/lease.py): a process whose event loop is blocked for longer fails
both. On two cores with ten times as much to do, a burst of creations was seen to take half a second to one.
"""
GONE_SECONDS = 300
"""Kubernetes' garbage collector removes what a scheduler owned, 20 requests a second."""


def late_wakeups(backend: Backend) -> dict[str, float]:
    """Return process of a gateway -> how often its event loop has lagged by more than :data:`LAG_SECONDS`."""
    name = "dask_gateway_event_loop_lag_seconds"
    return {
        process: scraping.value_in(text, f"{name}_count")
        - scraping.value_in(text, f"{name}_bucket", le=str(LAG_SECONDS))
        for process, text in scraping.READERS[backend]().items()
    }
