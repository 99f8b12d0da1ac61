"""Informers while Kubernetes' API server is away, forgets, hangs or is restarted."""

import asyncio
import contextlib
import json
import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from dask_gateway_server.backends.kubernetes.utils import Informer
from kubernetes_asyncio import client

from gateway.kubernetes import informers
from gateway.kubernetes.informers import PatientInformer

SECONDS = 0.5
"""How long the API server is away."""


class ApiServer:
    """Lists pods, and tells watches what it is given."""

    def __init__(self):
        self.version, self.pods, self.lists, self.watches = 7, ["a"], 0, []
        self.is_up, self.refusal = True, None
        self.events = asyncio.Queue()

    async def answer(self, request):
        if "watch" in request.query:
            return await self._watch(request)
        self.lists += 1
        if not self.is_up:
            raise web.HTTPServiceUnavailable
        return web.json_response(
            {"items": [pod(name) for name in self.pods], "metadata": {"resourceVersion": str(self.version)}}
        )

    async def _watch(self, request):
        self.watches.append(request.query)
        if self.refusal is not None:
            refusal, self.refusal = self.refusal, None
            return web.json_response(refusal, status=refusal["code"])
        response = web.StreamResponse()
        await response.prepare(request)
        while (event := await self.events.get()) is not None:
            await response.write(json.dumps(event).encode() + b"\n")
        return response

    def tell(self, kind, found):
        self.events.put_nowait({"type": kind, "object": found})

    def end_watch(self):
        self.events.put_nowait(None)


def pod(name, version=7):
    return {"metadata": {"namespace": "cms", "name": name, "resourceVersion": str(version)}}


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for knows nothing of events
            await asyncio.sleep(0.01)


@pytest.fixture
def api_server():
    return ApiServer()


@pytest.fixture
async def following(api_server):
    """Starts an informer of a class."""
    application = web.Application()
    application.router.add_get("/api/v1/namespaces/cms/pods", api_server.answer)
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(TestServer(application))
        configuration = client.Configuration(host=str(server.make_url("")).rstrip("/"))
        kubernetes = await stack.enter_async_context(client.ApiClient(configuration))

        async def follow(kind=PatientInformer, **traits):
            informer = kind(
                name="pod",
                client=client.CoreV1Api(kubernetes),
                method="list_namespaced_pod",
                method_kwargs={"namespace": "cms"},
                on_update=lambda new, old=None: None,
                on_delete=lambda old: None,
                **traits,
            )
            stack.push_async_callback(informer.stop)
            starting = asyncio.ensure_future(informer.start())
            stack.callback(starting.cancel)
            await until(lambda: api_server.lists)
            return informer

        yield follow
        # What waits for events would hold the server.
        for _ in api_server.watches:
            api_server.end_watch()


def followed(informer):
    return {key.removeprefix("cms.") for key in getattr(informer, "cache", {})}


async def asked_while_away(api_server, informer):
    """How often an informer asks for a list within half a second in which it gets none."""
    await until(lambda: followed(informer) == {"a"} and api_server.watches)
    api_server.is_up, before = False, api_server.lists
    api_server.end_watch()
    api_server.tell("ERROR", {"code": 500, "message": "shutting down"})
    await asyncio.sleep(SECONDS)
    return api_server.lists - before


async def test_it_pauses_while_kubernetes_is_away(api_server, following, caplog, monkeypatch):
    monkeypatch.setattr(informers, "FIRST_PAUSE_SECONDS", 0.05)
    informer = await following()
    assert await asked_while_away(api_server, informer) <= 4, "0.05 s, then 0.1 s, 0.2 s and 0.4 s"
    assert "500 shutting down" in caplog.text
    assert "503 Service Unavailable" in caplog.text
    assert not any(record.exc_info for record in caplog.records), "there is nothing to look for in the code"
    api_server.is_up, api_server.pods = True, ["b"]
    await until(lambda: followed(informer) == {"b"})


async def test_upstreams_does_not_pause(api_server, following, monkeypatch):
    monkeypatch.setattr(logging.Logger, "handle", lambda *_: None)
    assert await asked_while_away(api_server, await following(Informer)) > 50


async def test_news_arrive_over_watches_that_go_on_where_the_last_one_ended(api_server, following):
    informer = await following()
    api_server.tell("ADDED", pod("b", version=8))
    api_server.tell("BOOKMARK", {"metadata": {"resourceVersion": "30"}})
    api_server.end_watch()
    api_server.tell("DELETED", pod("a", version=31))
    await until(lambda: followed(informer) == {"b"})
    assert [watch["resourceVersion"] for watch in api_server.watches] == ["7", "30"]
    assert api_server.lists == 1


async def test_what_kubernetes_has_forgotten_is_listed_at_once(api_server, following, monkeypatch, caplog):
    monkeypatch.setattr(informers, "FIRST_PAUSE_SECONDS", 60)
    informer = await following()
    await until(lambda: api_server.watches)
    api_server.pods, api_server.version = ["c"], 99
    api_server.tell("ERROR", {"code": 410, "message": "too old resource version"})
    await until(lambda: followed(informer) == {"c"} and len(api_server.watches) == 2)
    assert api_server.watches[1]["resourceVersion"] == "99"
    assert not caplog.records


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [(410, "too old resource version", ""), (403, "pods is forbidden", "pods is forbidden")],
)
async def test_a_watch_that_is_refused_is_no_news(api_server, following, monkeypatch, caplog, code, message, said):
    monkeypatch.setattr(informers, "FIRST_PAUSE_SECONDS", 0.01)
    api_server.refusal = {"kind": "Status", "message": message, "code": code}
    informer = await following()
    await until(lambda: len(api_server.watches) == 2)
    assert api_server.lists == 2
    assert caplog.text.count("asking again") == (1 if said else 0)
    assert said in caplog.text
    assert not any(record.exc_info for record in caplog.records)
    assert followed(informer) == {"a"}


async def test_upstreams_takes_a_refused_watch_for_news(api_server, following, caplog):
    api_server.refusal = {"kind": "Status", "message": "pods is forbidden", "code": 403}
    await following(Informer)
    await until(lambda: api_server.lists == 2)
    assert "KeyError: 'type'" in caplog.text
    assert "forbidden" not in caplog.text


@pytest.mark.parametrize(("kind", "goes_on"), [(PatientInformer, True), (Informer, False)])
async def test_a_connection_whose_other_end_has_vanished_is_given_up(kind, goes_on, api_server, following, monkeypatch):
    monkeypatch.setattr(informers, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(informers, "ANSWER_SECONDS", 0.2)
    await following(kind, timeout_seconds=0)
    await asyncio.sleep(SECONDS)
    assert (api_server.lists > 1) is goes_on
