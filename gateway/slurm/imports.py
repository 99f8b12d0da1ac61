"""Which environments import Dask: found out once for all clusters that start alike, for a look costs half a second."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress

from gateway.errors import Refusal

MOST_REMEMBERED = 1000
"""Environments; a user who changes one leaves its former state behind here."""


class ImportChecks:
    """Checks that run or were passed. What failed is forgotten: its user is about to mend it."""

    def __init__(self) -> None:
        self._checks: dict[Hashable, asyncio.Task[None]] = {}

    async def passed(self, environment: Hashable, check: Callable[[], Awaitable[None]]) -> None:
        """Return when an environment is found good, by this check or an earlier one. Raises what the check raises.

        ``environment`` is equal for equal states of an environment only.
        """
        earlier = self._checks.get(environment)
        if earlier is None:
            await asyncio.shield(self._begin(environment, check))
            return
        try:
            await asyncio.shield(earlier)
        except Refusal:
            raise
        except Exception:  # noqa: BLE001 - it says nothing of this cluster
            await check()

    def _begin(self, environment: Hashable, check: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        async def run() -> None:
            await check()

        task = self._checks[environment] = asyncio.ensure_future(run())
        task.add_done_callback(lambda _: self._forget_failed(environment, task))
        if len(self._checks) > MOST_REMEMBERED:
            del self._checks[next(iter(self._checks))]
        return task

    def _forget_failed(self, environment: Hashable, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            with suppress(KeyError):
                del self._checks[environment]
