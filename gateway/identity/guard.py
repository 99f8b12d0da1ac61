"""Bound what credentials that the gateway does not know cost others: the hub, Kubernetes, the directory.

A credential that was accepted is known, and each use of it is checked without bound. Any other credential waits for its
turn among those of its source address, and a source address has a bounded number of refused attempts. For a short time,
a refused credential is refused again without a check.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MOST_CREDENTIALS = 10_000
MOST_SOURCES = 10_000
"""Bounds of what the gateway remembers; it forgets the least recently used."""
TURNS = 4
"""How many unknown credentials of one source address are checked at the same time."""
TURN_SECONDS = 10
"""How long a request with an unknown credential waits for its turn."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class CredentialRefused(Exception):  # noqa: N818 - the answer to a request, not a fault of the gateway
    """The credential is not valid."""


class TooManyAttempts(Exception):  # noqa: N818 - the answer to a request, not a fault of the gateway
    """The source address has sent too many credentials that are not valid."""


@dataclass(frozen=True)
class Bounds:
    """Bounds on credentials that are not valid."""

    attempts: int
    """How many of them a source address may send at once."""
    attempt_seconds: float
    """Time after which it may send one more."""
    refused_seconds: float
    """How long a refused credential is refused without another check."""


class Recent(Generic[Key, Value]):
    """A mapping that forgets the least recently used entry when it is full."""

    def __init__(self, most: int) -> None:
        self._entries: OrderedDict[Key, Value] = OrderedDict()
        self._most = most

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """Return the value of a key, or None."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Store the value of a key."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def drop(self, key: Key) -> None:
        """Forget a key."""
        self._entries.pop(key, None)


@dataclass
class _Source:
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TURNS))
    spent: float = 0.0
    """Attempts that were refused and are not yet forgiven."""
    since: float = float("-inf")


class Guard:
    """Check credentials of one kind within :class:`Bounds`."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounds, self._clock = bounds, clock
        self._known: Recent[bytes, bool] = Recent(MOST_CREDENTIALS)
        self._refused: Recent[bytes, float] = Recent(MOST_CREDENTIALS)
        self._sources: Recent[str, _Source] = Recent(MOST_SOURCES)

    async def checked(self, source: str, credential: str, check: Callable[[], Awaitable[Value]]) -> Value:
        """Return what ``check`` returns. It raises :class:`CredentialRefused` for a credential that is not valid.

        Raises :class:`CredentialRefused`, also without a check, and :class:`TooManyAttempts`.
        """
        # The gateway remembers no credential itself.
        key = hashlib.sha256(credential.encode(errors="surrogateescape")).digest()
        at = self._source(source)
        if self._known.get(key):
            return await self._noted(at, key, check)
        self._recall(key)
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await at.turns.acquire()
        except TimeoutError:
            raise TooManyAttempts from None
        try:
            self._recall(key)
            if self._spent(at) + 1 > self._bounds.attempts:
                raise TooManyAttempts
            return await self._noted(at, key, check)
        finally:
            at.turns.release()

    def _recall(self, key: bytes) -> None:
        refused = self._refused.get(key)
        if refused is not None and self._clock() - refused < self._bounds.refused_seconds:
            raise CredentialRefused

    def _spent(self, at: _Source) -> float:
        return max(0.0, at.spent - (self._clock() - at.since) / self._bounds.attempt_seconds)

    def _source(self, address: str) -> _Source:
        found = self._sources.get(address)
        if found is None:
            found = _Source()
            self._sources.put(address, found)
        return found

    async def _noted(self, at: _Source, key: bytes, check: Callable[[], Awaitable[Value]]) -> Value:
        try:
            result = await check()
        except CredentialRefused:
            self._known.drop(key)
            self._refused.put(key, self._clock())
            at.spent, at.since = self._spent(at) + 1, self._clock()
            raise
        self._known.put(key, True)
        return result
