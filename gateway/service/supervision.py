"""Supervise background loops: log and count their failures, and begin them again with a backoff."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

from prometheus_client import Counter

LEAST_BACKOFF_SECONDS = 1.0
MOST_BACKOFF_SECONDS = 60.0

LOOP_FAILURES = Counter(
    "dask_gateway_loop_failures", "Failures of background loops, each of which began again.", ("loop",)
)


@contextlib.contextmanager
def counted(name: str) -> Iterator[None]:
    """Count an error in one turn of a loop of upstream's, which logs it and goes on."""
    try:
        yield
    except Exception:
        LOOP_FAILURES.labels(name).inc()
        raise


Sleep = Callable[[float], Awaitable[object]]


async def supervised(
    name: str, loop: Callable[[], Awaitable[None]], log: logging.Logger, sleep: Sleep = asyncio.sleep
) -> None:
    """Run a background loop until it returns; begin it again after each error.

    ``name`` is the loop's name in log and metric. The backoff doubles from :data:`LEAST_BACKOFF_SECONDS` to
    :data:`MOST_BACKOFF_SECONDS`, and starts anew after a run that was longer than the latter.
    """
    failures = LOOP_FAILURES.labels(name)
    clock, backoff = asyncio.get_running_loop().time, LEAST_BACKOFF_SECONDS
    while True:
        began = clock()
        try:
            return await loop()
        except Exception:
            failures.inc()
            if clock() - began > MOST_BACKOFF_SECONDS:
                backoff = LEAST_BACKOFF_SECONDS
            log.exception("The background loop %r failed; it begins again in %g s", name, backoff)
        await sleep(backoff)
        backoff = min(2 * backoff, MOST_BACKOFF_SECONDS)
