"""The HTTP session by which a gateway calls schedulers, which run users' code."""

from types import SimpleNamespace
from typing import Any

import aiohttp

CALL_SECONDS = 15
"""Timeout of one call; upstream retries it."""


def opened() -> aiohttp.ClientSession:
    """Open a session that follows no redirect: a scheduler could lead the gateway to any service that it reaches."""
    refusing = aiohttp.TraceConfig()
    refusing.on_request_redirect.append(_refuse)
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_SECONDS), trace_configs=[refusing])


async def _refuse(_session: aiohttp.ClientSession, _context: SimpleNamespace, redirect: Any) -> None:
    raise aiohttp.ClientError(f"the scheduler at {redirect.url.host} redirects the gateway")
