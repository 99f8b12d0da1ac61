"""Cache of import checks, keyed by the environment's state; one check takes half a second."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from functools import partial

from gateway.errors import Refusal

MOST_REMEMBERED = 1000
"""Bound on the cached checks; an environment that its user changes leaves its former state in the cache."""


class ImportChecks:
    """Checks that run or have passed. A check that failed is forgotten, because the user may repair the environment."""

    def __init__(self) -> None:
        self._checks: dict[Hashable, asyncio.Future[None]] = {}

    async def passed(self, environment: Hashable, check: Callable[[], Awaitable[None]]) -> None:
        """Return when an environment has passed the check, now or earlier. Raises what ``check`` raises.

        ``environment`` is the key: equal keys stand for equal states of one environment.
        """
        earlier = self._checks.get(environment)
        if earlier is None:
            await asyncio.shield(self._begin(environment, check))
            return
        try:
            await asyncio.shield(earlier)
        except Refusal:
            raise
        except Exception:  # noqa: BLE001 - another error concerns the cluster of the earlier check alone
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
