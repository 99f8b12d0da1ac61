"""Measure the gateway's own processes, and serve the metrics to Prometheus. No label names a user or a cluster."""

import asyncio
import selectors
import socket
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import ClassVar

from prometheus_client import Counter, Histogram, MetricsHandler
from traitlets import Unicode
from traitlets.config import Configurable

from gateway.service import sockets
from gateway.service.termination import Cause, EndCause, StartFailure
from gateway.site import Backend

START_FAILURES = Counter("dask_gateway_start_failures", "Clusters whose start failed.", ("backend", "cause"))
CLUSTERS_ENDED = Counter(
    "dask_gateway_clusters_ended", "Clusters that have ended, without failed starts.", ("backend", "cause")
)
LOOP_LAG = Histogram(
    "dask_gateway_event_loop_lag_seconds",
    "How long one turn of the event loop blocks other work.",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REQUESTS = Histogram(
    "dask_gateway_request_duration_seconds",
    "Request latency; long polls take up to 20 s.",
    ("method", "route", "status"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


def count(backend: Backend, cause: Cause) -> None:
    """Count a cluster that has ended."""
    counter = START_FAILURES if isinstance(cause, StartFailure) else CLUSTERS_ENDED
    counter.labels(backend.value, cause.value).inc()


def begin(backend: Backend) -> None:
    """Create the series of all causes at zero: Prometheus sees no increase of a series that begins at one."""
    for counter, causes in ((START_FAILURES, StartFailure), (CLUSTERS_ENDED, EndCause)):
        for cause in causes:
            counter.labels(backend.value, cause.value)


class MeasuredSelector(selectors.DefaultSelector):
    """A selector that observes how long the event loop works between two polls for events.

    It sees everything that blocks the loop. Unlike a task that wakes periodically, it costs nothing while the loop is
    idle.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self._clock = clock

    _begun: float | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Observe the time since the last call, then return the ready events after at most ``timeout`` seconds."""
        if self._begun is not None:
            LOOP_LAG.observe(self._clock() - self._begun)
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        self._begun = self._clock()
        return ready


class MeasuredLoops(asyncio.DefaultEventLoopPolicy):
    """The policy that gives a process an event loop with :class:`MeasuredSelector`."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Return a new measured event loop."""
        return asyncio.SelectorEventLoop(MeasuredSelector())


class MetricsServer(ThreadingHTTPServer):
    """Serve metrics to Prometheus in a thread of its own, so that it answers while the event loop is blocked.

    It replaces prometheus_client's own server, which wakes twice a second while it is idle.
    """

    timeout = 0
    """Seconds for which :meth:`handle_request` waits: a connection is there when the thread calls it."""

    def __init__(self, listening: socket.socket) -> None:
        """Answer at a listening socket, which :meth:`end` closes."""
        super().__init__(listening.getsockname(), MetricsHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._end_sender, self._end_receiver = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for watched in (self.socket, self._end_receiver):
                selector.register(watched, selectors.EVENT_READ)
            while not any(key.fileobj is self._end_receiver for key, _ in selector.select()):
                self.handle_request()

    def end(self) -> None:
        """Stop, and close the socket."""
        # A shutdown of the socket would wake the thread too, but would end the socket for systemd as well.
        self._end_sender.close()
        self._thread.join()
        self._end_receiver.close()
        self.server_close()


class Measured(Configurable):
    """Serve metrics while a process of the gateway runs. A mixin, listed before upstream's class."""

    kind: ClassVar[Backend]
    metrics_address = Unicode(help="HOST:PORT of the metrics server; without HOST, all addresses.", config=True)

    def start(self) -> None:
        """Run upstream's process on a measured event loop."""
        asyncio.set_event_loop_policy(MeasuredLoops())
        super().start()  # type: ignore[misc] # upstream's

    async def setup(self) -> None:
        """Start to serve metrics, then set upstream up. Raises ``OSError`` when another process has the port."""
        host, _, port = self.metrics_address.rpartition(":")
        begin(self.kind)
        address = host, int(port)
        self.metrics_server = MetricsServer(sockets.passed(*address) or socket.create_server(address))
        await super().setup()  # type: ignore[misc] # upstream's

    async def cleanup(self) -> None:
        """Clean upstream up, then stop to serve metrics."""
        try:
            await super().cleanup()  # type: ignore[misc] # upstream's
        finally:
            if hasattr(self, "metrics_server"):
                await asyncio.to_thread(self.metrics_server.end)
