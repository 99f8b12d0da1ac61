"""The gateway's calls of schedulers follow no redirect."""

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.service import scheduler_session


async def test_a_redirect_is_refused():
    reached = []

    async def redirect(_):
        raise web.HTTPFound("/elsewhere")

    async def elsewhere(_):
        reached.append(True)
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/api/comm", redirect), web.get("/elsewhere", elsewhere)])
    async with TestServer(app) as server, scheduler_session.opened() as session:
        with pytest.raises(aiohttp.ClientError, match="redirects the gateway"):
            await session.post(server.make_url("/api/comm"), json={})
    assert reached == []
