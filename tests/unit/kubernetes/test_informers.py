"""Informers while Kubernetes' API server is away, forgets versions, hangs or restarts."""

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

STUCK_SECONDS = 10
"""A test fails when its condition is not true by then; no test decides by it."""


class ApiServer:
    """Lists pods, and sends watches the events that tests put."""

    def __init__(self):
        self.version, self.pods, self.lists, self.watches = 7, ["a"], 0, []
        self.is_up, self.refusal = True, None
        self.events = asyncio.Queue()
        self.changed = asyncio.Event()
        """Set after each request, and after each change of an informer's cache."""

    async def answer(self, request):
        if "watch" in request.query:
            return await self._watch(request)
        self.lists += 1
        self.changed.set()
        if not self.is_up:
            raise web.HTTPServiceUnavailable
        return web.json_response(
            {"items": [pod(name) for name in self.pods], "metadata": {"resourceVersion": str(self.version)}}
        )

    async def _watch(self, request):
        self.watches.append(request.query)
        self.changed.set()
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

    def goes_away(self):
        """End the watch, and answer no list any more."""
        self.is_up = False
        self.end_watch()
        self.tell("ERROR", {"code": 500, "message": "shutting down"})

    async def until(self, condition):
        async with asyncio.timeout(STUCK_SECONDS):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class Recorded(client.CoreV1Api):
    """Kubernetes' client, which notes the timeout of each request."""

    def __init__(self, kubernetes):
        super().__init__(kubernetes)
        self.timeouts = []

    async def list_namespaced_pod(self, namespace, **options):
        self.timeouts.append(options.get("_request_timeout"))
        return await super().list_namespaced_pod(namespace, **options)


def pod(name, version=7):
    return {"metadata": {"namespace": "cms-dask", "name": name, "resourceVersion": str(version)}}


@pytest.fixture
def api_server():
    return ApiServer()


@pytest.fixture
async def following(api_server):
    """Start an informer of a class."""
    application = web.Application()
    application.router.add_get("/api/v1/namespaces/cms-dask/pods", api_server.answer)
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(TestServer(application))
        configuration = client.Configuration(host=str(server.make_url("")).rstrip("/"))
        kubernetes = await stack.enter_async_context(client.ApiClient(configuration))

        async def follow(kind=PatientInformer, **traits):
            informer = kind(
                name="pod",
                client=Recorded(kubernetes),
                method="list_namespaced_pod",
                method_kwargs={"namespace": "cms-dask"},
                on_update=lambda new, old=None: api_server.changed.set(),
                on_delete=lambda old: api_server.changed.set(),
                **traits,
            )
            stack.push_async_callback(informer.stop)
            starting = asyncio.ensure_future(informer.start())
            stack.callback(starting.cancel)
            await api_server.until(lambda: api_server.lists)
            return informer

        yield follow
        # A watch that waits for events would keep the server from ending.
        for _ in api_server.watches:
            api_server.end_watch()


@pytest.fixture
def pauses():
    """The pauses of informers whose ``sleep`` is :func:`noted`."""
    return []


def noted(pauses):
    """Return a sleep that notes its seconds and takes none."""

    async def sleep(seconds):
        pauses.append(seconds)
        await asyncio.sleep(0)

    return sleep


def followed(informer):
    return {key.removeprefix("cms-dask.") for key in getattr(informer, "cache", {})}


async def test_it_pauses_while_kubernetes_is_away(api_server, following, caplog, pauses):
    informer = await following(sleep=noted(pauses))
    await api_server.until(lambda: followed(informer) == {"a"} and api_server.watches)
    before = api_server.lists
    api_server.goes_away()
    await api_server.until(lambda: api_server.lists - before >= 7)
    assert pauses[:7] == [0.5, 1, 2, 4, 5, 5, 5]
    assert len(pauses) - (api_server.lists - before) in (0, 1), "one pause before each list"
    assert "500 shutting down" in caplog.text
    assert "503 Service Unavailable" in caplog.text
    assert not any(record.exc_info for record in caplog.records), "the code has no fault to look for"
    api_server.is_up, api_server.pods = True, ["b"]
    await api_server.until(lambda: followed(informer) == {"b"})


async def test_upstreams_does_not_pause(api_server, following, monkeypatch):
    monkeypatch.setattr(logging.Logger, "handle", lambda *_: None)
    informer = await following(Informer)
    await api_server.until(lambda: followed(informer) == {"a"} and api_server.watches)
    before = api_server.lists
    api_server.goes_away()
    # With pauses as above this would take minutes, and the test would be stuck.
    await api_server.until(lambda: api_server.lists - before > 50)


async def test_news_arrive_over_watches_that_go_on_where_the_last_one_ended(api_server, following):
    informer = await following()
    api_server.tell("ADDED", pod("b", version=8))
    api_server.tell("BOOKMARK", {"metadata": {"resourceVersion": "30"}})
    api_server.end_watch()
    api_server.tell("DELETED", pod("a", version=31))
    await api_server.until(lambda: followed(informer) == {"b"})
    assert [watch["resourceVersion"] for watch in api_server.watches] == ["7", "30"]
    assert api_server.lists == 1


async def test_what_kubernetes_has_forgotten_is_listed_at_once(api_server, following, pauses, caplog):
    informer = await following(sleep=noted(pauses))
    await api_server.until(lambda: api_server.watches)
    api_server.pods, api_server.version = ["c"], 99
    api_server.tell("ERROR", {"code": 410, "message": "too old resource version"})
    await api_server.until(lambda: followed(informer) == {"c"} and len(api_server.watches) == 2)
    assert api_server.watches[1]["resourceVersion"] == "99"
    assert pauses == []
    assert not caplog.records


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [(410, "too old resource version", ""), (403, "pods is forbidden", "pods is forbidden")],
)
async def test_a_watch_that_is_refused_is_no_news(api_server, following, pauses, caplog, code, message, said):
    api_server.refusal = {"kind": "Status", "message": message, "code": code}
    informer = await following(sleep=noted(pauses))
    await api_server.until(lambda: len(api_server.watches) == 2)
    assert api_server.lists == 2
    assert len(pauses) == caplog.text.count("retrying in") == (1 if said else 0)
    assert said in caplog.text
    assert not any(record.exc_info for record in caplog.records)
    assert followed(informer) == {"a"}


async def test_upstreams_takes_a_refused_watch_for_news(api_server, following, caplog):
    api_server.refusal = {"kind": "Status", "message": "pods is forbidden", "code": 403}
    await following(Informer)
    await api_server.until(lambda: api_server.lists == 2)
    assert "KeyError: 'type'" in caplog.text
    assert "forbidden" not in caplog.text


async def test_a_connection_whose_other_end_has_vanished_is_given_up(api_server, following, pauses, monkeypatch):
    monkeypatch.setattr(informers, "ANSWER_SECONDS", 0.2)
    informer = await following(timeout_seconds=0, sleep=noted(pauses))
    await api_server.until(lambda: api_server.lists > 1)
    assert set(informer.client.timeouts) == {0.2}


async def test_upstreams_waits_on_such_a_connection_without_a_timeout(api_server, following):
    informer = await following(Informer)
    await api_server.until(lambda: api_server.watches)
    assert informer.client.timeouts == [None, None]
