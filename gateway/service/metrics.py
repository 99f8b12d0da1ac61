"""What Prometheus reads of the gateway's own processes. No label names a user or a cluster."""

import asyncio
import selectors
import socket
import threading
import time
from http.server import ThreadingHTTPServer
from typing import ClassVar

from prometheus_client import Counter, Histogram, MetricsHandler
from traitlets import Unicode
from traitlets.config import Configurable

from gateway.service.termination import Cause, EndCause, StartFailure
from gateway.site import Backend

PATH = "/metrics"
WAKE_SECONDS = 3600
"""How often the server of metrics wakes without being asked."""

START_FAILURES = Counter(
    "dask_gateway_start_failures", "Clusters that were asked for and never ran.", ("backend", "cause")
)
CLUSTERS_ENDED = Counter("dask_gateway_clusters_ended", "Other clusters that are over.", ("backend", "cause"))
LOOP_LAG = Histogram(
    "dask_gateway_event_loop_lag_seconds",
    "How long the event loop does not look at what else is due: one turn of it.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REQUESTS = Histogram(
    "dask_gateway_request_duration_seconds",
    "How long answers take; those to who waits for a cluster take up to 20 s.",
    ("method", "route", "status"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


def count(backend: Backend, cause: Cause) -> None:
    """Count a cluster that is over."""
    counter = START_FAILURES if isinstance(cause, StartFailure) else CLUSTERS_ENDED
    counter.labels(backend.value, cause.value).inc()


def begin(backend: Backend) -> None:
    """Have all causes at zero: Prometheus sees no increase of a series that begins with one."""
    for counter, causes in ((START_FAILURES, StartFailure), (CLUSTERS_ENDED, EndCause)):
        for cause in causes:
            counter.labels(backend.value, cause.value)


class MeasuredSelector(selectors.DefaultSelector):
    """Observes how long an event loop works between two looks for news.

    Nothing that blocks the loop is missed, and an idle loop costs nothing, as a task that looks now and then would.
    """

    _begun: float | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, after at most so many seconds."""
        if self._begun is not None:
            LOOP_LAG.observe(time.perf_counter() - self._begun)
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        self._begun = time.perf_counter()
        return ready


class MeasuredLoops(asyncio.DefaultEventLoopPolicy):
    """Makes event loops that are measured."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A loop with the selector above."""
        return asyncio.SelectorEventLoop(MeasuredSelector())


class MetricsServer(ThreadingHTTPServer):
    """Serves metrics to Prometheus, by a thread of its own: it answers while the event loop is blocked.

    prometheus_client's own server is not used because it wakes twice a second for nothing.
    """

    def __init__(self, host: str, port: int) -> None:
        """Raises ``OSError`` when the port is taken."""
        super().__init__((host, port), MetricsHandler)
        threading.Thread(target=self.serve_forever, args=(WAKE_SECONDS,), daemon=True).start()

    def end(self) -> None:
        """Stop; nobody can connect any more."""
        # It would not notice that it is to end before it wakes.
        self.socket.shutdown(socket.SHUT_RDWR)
        self.shutdown()
        self.server_close()


class Measured(Configurable):
    """Mixin of a process of the gateway, before upstream's class: serves metrics while that runs."""

    kind: ClassVar[Backend]
    metrics_address = Unicode(help="HOST:PORT of the metrics; without a host all addresses.", config=True)

    def start(self) -> None:
        """Do what upstream does, on a loop that is measured."""
        asyncio.set_event_loop_policy(MeasuredLoops())
        super().start()  # type: ignore[misc] # upstream's

    async def setup(self) -> None:
        """Start to serve metrics, then do what upstream does. Raises ``OSError`` when the port is taken."""
        host, _, port = self.metrics_address.rpartition(":")
        begin(self.kind)
        self._metrics_server = MetricsServer(host, int(port))
        await super().setup()  # type: ignore[misc] # upstream's

    async def cleanup(self) -> None:
        """Do what upstream does, and stop."""
        try:
            await super().cleanup()  # type: ignore[misc] # upstream's
        finally:
            if hasattr(self, "_metrics_server"):
                await asyncio.to_thread(self._metrics_server.end)
