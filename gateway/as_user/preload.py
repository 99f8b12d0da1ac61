"""A preload of the user's scheduler: report to the gateway that the scheduler listens, and while a client is connected.

The gateway ends a cluster without a scheduler report for the site's client-gone timeout, whatever the reason
(dask/dask-gateway#255). One file for Python >= 3.8, with the standard library and tornado, which distributed needs. The
gateways read its constants, and have no tornado.
"""

import asyncio
import logging
import os
import time
from functools import partial
from pathlib import Path
from typing import Any, Awaitable, Callable

REPORT_SECONDS = "DASK_GATEWAY_CLIENT_REPORT_SECONDS"
"""Environment variable: the interval of reports while a client is connected."""
REPORT_START = "DASK_GATEWAY_REPORT_START"
"""Environment variable, set where the gateway expects a report of the start; elsewhere a heartbeat reports it."""
POLL_SECONDS = 1.0
"""Interval of checks whether a client is connected; the last report is late by no more than this."""
RETRY_SECONDS = 0.5
"""Pause before a report of the start that failed is sent again."""
HEARTBEAT_POLLS, HEARTBEAT_POLL_SECONDS = 20, 0.01
"""Number and interval of checks whether upstream's preload waits to send its first heartbeat."""
WATCHING = "subscribe_worker_status"
"""The operation by which a ``GatewayCluster`` subscribes to a scheduler, even without a client."""

Sleep = Callable[[float], Awaitable[Any]]

logger = logging.getLogger("distributed.scheduler.gateway")


class Presence:
    """The clients that are connected to a scheduler."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._watching: set = set()  # type: ignore[type-arg] # Python 3.8
        self._watch = scheduler.handlers[WATCHING]
        scheduler.handlers[WATCHING] = self._watched

    def _watched(self, comm: Any = None, **options: Any) -> Any:
        self._watching.add(comm)
        return self._watch(comm=comm, **options)

    def is_there(self) -> bool:
        """Return whether a client is connected, or a notebook that has the cluster without a client."""
        self._watching = {comm for comm in self._watching if not comm.closed()}
        return bool(self._watching) or any(is_notebook(name) for name in self._scheduler.clients)


def is_notebook(client: str) -> bool:
    """Return whether a client of that name is a notebook's: no task has it, and it does not outlive its connection."""
    return client != "fire-and-forget" and "-worker-" not in client


async def report(url: str, token: str) -> None:
    """Send one scheduler report to that URL of the gateway."""
    from tornado.httpclient import AsyncHTTPClient, HTTPRequest  # noqa: PLC0415 - the gateways don't have it

    headers = {"Authorization": f"token {token}", "Content-type": "application/json"}
    await AsyncHTTPClient().fetch(HTTPRequest(url, method="POST", headers=headers, body="{}"))


async def report_start(send: Callable[[], Awaitable[None]], sleep: Sleep = asyncio.sleep) -> None:
    """Report that this scheduler listens, and retry until the gateway accepts the report."""
    while True:
        try:
            return await send()
        except Exception as error:  # noqa: BLE001 - a retry may succeed after any error
            logger.warning("The gateway does not accept the report that the scheduler has started: %r", error)
        await sleep(RETRY_SECONDS)


async def hasten_heartbeat(scheduler: Any, sleep: Sleep = asyncio.sleep) -> None:
    """Make upstream's preload send its first heartbeat now.

    By itself it waits for a quarter of a second, and the gateway with it (dask-gateway 2026.3.0, not reported).
    """
    for _ in range(HEARTBEAT_POLLS):
        await sleep(HEARTBEAT_POLL_SECONDS)
        for plugin in scheduler.plugins.values():
            waiter: Any = getattr(getattr(plugin, "service", None), "waiter", None)
            if getattr(waiter, "task", None) is not None:
                await waiter.interrupt()
                return


async def report_while_connected(
    presence: Presence,
    send: Callable[[], Awaitable[None]],
    seconds: float,
    sleep: Sleep = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Report every so many seconds while a client is connected, and once when the last client leaves.

    A report that fails is sent again at each check, and the scheduler's log mentions the first failure in a row.
    """
    was_there, due, is_accepted = False, 0.0, True
    while True:
        is_there = presence.is_there()
        if (is_there and clock() >= due) or (was_there and not is_there):
            try:
                await send()
            except Exception as error:  # noqa: BLE001 - the next check retries after any error
                if is_accepted:
                    logger.warning("The gateway does not accept the report that a client is connected: %r", error)
                is_there, is_accepted = is_there or was_there, False
            else:
                due, is_accepted = clock() + seconds, True
        was_there = is_there
        await sleep(POLL_SECONDS)


def dask_setup(scheduler: Any) -> None:
    """Start the reports; distributed calls this function when the scheduler listens."""
    name, url = os.environ["DASK_GATEWAY_CLUSTER_NAME"], os.environ["DASK_GATEWAY_API_URL"]
    token = Path(os.environ["DASK_GATEWAY_API_TOKEN"]).read_text()
    cluster = f"{url}/v1/clusters/{name}"
    reports = [
        report_while_connected(
            Presence(scheduler), partial(report, f"{cluster}/clients", token), float(os.environ[REPORT_SECONDS])
        )
    ]
    if os.environ.get(REPORT_START):
        reports.append(report_start(partial(report, f"{cluster}/start", token)))
    else:
        reports.append(hasten_heartbeat(scheduler))
    # Keep a reference, because the event loop holds tasks by weak references only.
    scheduler.gateway_reports = asyncio.gather(*reports, return_exceptions=True)
