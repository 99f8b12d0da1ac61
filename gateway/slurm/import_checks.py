"""Which environments import Dask: found out once for all clusters that start alike, for a look costs half a second."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from functools import partial

from gateway.errors import Refusal

MOST_REMEMBERED = 1000
"""Environments; a user who changes one leaves its former state behind here."""


class ImportChecks:
    """Checks that run or were passed. What failed is forgotten: its user is about to mend it."""

    def __init__(self) -> None:
        self._checks: dict[Hashable, asyncio.Future[None]] = {}

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

    def _begin(self, environment: Hashable, check: Callable[[], Awaitable[None]]) -> asyncio.Future[None]:
        begun = self._checks[environment] = asyncio.ensure_future(check())
        begun.add_done_callback(partial(self._forget_failed, environment))
        if len(self._checks) > MOST_REMEMBERED:
            del self._checks[next(iter(self._checks))]
        return begun

    def _forget_failed(self, environment: Hashable, ended: asyncio.Future[None]) -> None:
        if ended.cancelled() or ended.exception() is not None:
            self._checks.pop(environment, None)
