"""Runs in the user's scheduler: tells the gateway that it listens, and that a client is connected, as long as one is.

A scheduler that has not said so for the site's time is ended by the gateway, whatever is the matter with it
(dask/dask-gateway#255). Standard library and tornado, which comes with distributed; one file, for Python >= 3.8. The
gateways read its names, without having tornado.
"""

import asyncio
import json
import logging
import os
from functools import partial
from pathlib import Path
from typing import Any, Awaitable, Callable
from urllib.parse import urlsplit

REPORT_SECONDS = "DASK_GATEWAY_CLIENT_REPORT_SECONDS"
"""Environment variable: how often to report."""
REPORT_START = "DASK_GATEWAY_REPORT_START"
"""Environment variable: set where the gateway wants to be told of the start; else a heartbeat tells it."""
ADDRESS = "address"
"""Key in the report of a start: the IP address at which the scheduler listens."""
LOOK_SECONDS = 1.0
"""How often to look whether somebody is connected: a report at the end tells when it was."""
AGAIN_SECONDS = 0.5
"""After which pause a start that the gateway did not take is told again."""
LOOKS_FOR_HEARTBEAT, LOOK_FOR_HEARTBEAT_SECONDS = 20, 0.01
"""How often, and in what distance, to look whether upstream's preload is about to send heartbeats."""
WATCHING = "subscribe_worker_status"
"""What a ``GatewayCluster`` asks of a scheduler, even without a client."""

logger = logging.getLogger("distributed.scheduler.gateway")


class Presence:
    """Who is connected to a scheduler."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._watching: set = set()  # type: ignore[type-arg] # Python 3.8
        self._watch = scheduler.handlers[WATCHING]
        scheduler.handlers[WATCHING] = self._watched

    def _watched(self, comm: Any = None, **options: Any) -> Any:
        self._watching.add(comm)
        return self._watch(comm=comm, **options)

    def is_there(self) -> bool:
        """Whether a client is connected, or a notebook that has the cluster without a client."""
        self._watching = {comm for comm in self._watching if not comm.closed()}
        return bool(self._watching) or any(is_notebook(name) for name in self._scheduler.clients)


def is_notebook(client: str) -> bool:
    """Whether a client's name is not that of a task, or of what outlives its client."""
    return client != "fire-and-forget" and "-worker-" not in client


async def report(url: str, token: str, said: "dict[str, str] | None" = None) -> None:
    """Tell the gateway what that URL is for, with what there is to say."""
    from tornado.httpclient import AsyncHTTPClient, HTTPRequest  # noqa: PLC0415 - the gateways don't have it

    headers = {"Authorization": f"token {token}", "Content-type": "application/json"}
    await AsyncHTTPClient().fetch(HTTPRequest(url, method="POST", headers=headers, body=json.dumps(said or {})))


async def report_start(told: Callable[[], Awaitable[None]], again_seconds: float = AGAIN_SECONDS) -> None:
    """Report that this scheduler listens, until the gateway has taken it."""
    while True:
        try:
            return await told()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next report may succeed
            logger.warning("The gateway does not take the news that the scheduler has started: %r", error)
        await asyncio.sleep(again_seconds)


async def hasten_heartbeat(scheduler: Any) -> None:
    """Have upstream's preload send its first heartbeat now.

    It waits for a quarter of a second, and the gateway with it (dask-gateway 2026.3.0, not reported).
    """
    for _ in range(LOOKS_FOR_HEARTBEAT):
        await asyncio.sleep(LOOK_FOR_HEARTBEAT_SECONDS)
        for plugin in scheduler.plugins.values():
            waiter: Any = getattr(getattr(plugin, "service", None), "waiter", None)
            if getattr(waiter, "task", None) is not None:
                await waiter.interrupt()
                return


async def report_while_connected(
    presence: Presence, told: Callable[[], Awaitable[None]], seconds: float, look_seconds: float = LOOK_SECONDS
) -> None:
    """Report every so many seconds while somebody is connected, and once when the last one leaves.

    What the gateway does not take is told at each look again, and said once in the scheduler's log.
    """
    was_there, due, is_taken = False, 0.0, True
    clock = asyncio.get_event_loop().time
    while True:
        is_there = presence.is_there()
        if (is_there and clock() >= due) or (was_there and not is_there):
            try:
                await told()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look tries again
                if is_taken:
                    logger.warning("The gateway does not take the news that a client is connected yet: %r", error)
                is_there, is_taken = is_there or was_there, False
            else:
                due, is_taken = clock() + seconds, True
        was_there = is_there
        await asyncio.sleep(look_seconds)


def dask_setup(scheduler: Any) -> None:
    """Begin; called by distributed when the scheduler listens."""
    name, url = os.environ["DASK_GATEWAY_CLUSTER_NAME"], os.environ["DASK_GATEWAY_API_URL"]
    token = Path(os.environ["DASK_GATEWAY_API_TOKEN"]).read_text()
    cluster = f"{url}/v1/clusters/{name}"
    reports = [
        report_while_connected(
            Presence(scheduler), partial(report, f"{cluster}/clients", token), float(os.environ[REPORT_SECONDS])
        )
    ]
    if os.environ.get(REPORT_START):
        start = {ADDRESS: urlsplit(scheduler.address).hostname}
        reports.append(report_start(partial(report, f"{cluster}/start", token, start)))
    else:
        reports.append(hasten_heartbeat(scheduler))
    # Kept, because the event loop holds tasks by weak references only.
    scheduler.gateway_reports = asyncio.gather(*reports, return_exceptions=True)
