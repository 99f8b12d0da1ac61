"""Background loops begin again after any error, and are counted."""

import asyncio
import logging

import pytest

from gateway.service import supervision
from gateway.service.supervision import LEAST_BACKOFF_SECONDS, MOST_BACKOFF_SECONDS, supervised


def failures(name):
    return supervision.LOOP_FAILURES.labels(name)._value.get()


async def test_a_loop_begins_again_with_a_backoff(caplog):
    waited, runs = [], 0

    async def loop():
        nonlocal runs
        runs += 1
        if runs <= 9:
            raise [OSError("disk full"), ValueError("row"), KeyError("x")][runs % 3]

    async def sleep(seconds):
        waited.append(seconds)

    before = failures("test")
    await supervised("test", loop, logging.getLogger("loops"), sleep)
    assert (runs, failures("test") - before) == (10, 9)
    assert waited[:3] == [LEAST_BACKOFF_SECONDS, 2 * LEAST_BACKOFF_SECONDS, 4 * LEAST_BACKOFF_SECONDS]
    assert max(waited) == waited[-1] == MOST_BACKOFF_SECONDS
    assert sum("The background loop 'test' failed" in record.getMessage() for record in caplog.records) == 9


async def test_a_loop_can_be_cancelled():
    began = asyncio.Event()

    async def loop():
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(supervised("cancelled", loop, logging.getLogger("loops")))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert failures("cancelled") == 0
