"""Test which reports of schedulers the gateways accept; upstream's own check of the cluster's token runs first."""

import contextlib
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application
from hypothesis import given
from hypothesis import strategies as st

from gateway.service import middleware, scheduler_reports
from tests.unit.hostile import many


@pytest.fixture
async def gateway():
    noted = []

    async def get_cluster(name):
        return SimpleNamespace(token="secret") if name == "cms.c1" else None

    async def note(name):
        noted.append(name)

    app = Application(middlewares=[middleware.explain])
    app["backend"] = SimpleNamespace(get_cluster=get_cluster)
    scheduler_reports.take_clients(app, note)
    scheduler_reports.take_starts(app, note)
    async with TestClient(TestServer(app)) as client:
        yield client, noted


async def post(client, route, body, *, name="cms.c1", token="secret"):
    answer = await client.post(route.format(cluster_name=name), json=body, headers={"Authorization": f"token {token}"})
    return answer.status


async def test_clients_are_noted(gateway):
    client, noted = gateway
    assert await post(client, scheduler_reports.CLIENTS, {}) == 200
    assert noted == ["cms.c1"]


@pytest.mark.parametrize("body", [{}, {"address": "10.0.0.1"}, {"address": ["127.0.0.1"]}])
async def test_a_start_report_tells_no_address(gateway, body):
    client, noted = gateway
    assert await post(client, scheduler_reports.START, body) == 200
    assert noted == ["cms.c1"]


@pytest.mark.parametrize("route", [scheduler_reports.CLIENTS, scheduler_reports.START])
async def test_reports_without_distance_are_refused(gateway, route):
    client, noted = gateway
    answers = [await post(client, route, {}) for _ in range(100)]
    assert set(answers) == {200, 429}
    assert len(noted) == answers.count(200) < 100
    assert answers[: scheduler_reports.BURST] == [200] * scheduler_reports.BURST


def test_a_pace_counts_each_cluster_alone_and_forgets():
    now = 0.0
    pace = scheduler_reports.Pace(clock=lambda: now)
    for _ in range(scheduler_reports.BURST):
        pace.check("a")
    with pytest.raises(web.HTTPTooManyRequests):
        pace.check("a")
    pace.check("b")
    now += scheduler_reports.LEAST_SECONDS
    pace.check("a")
    with pytest.raises(web.HTTPTooManyRequests):
        pace.check("a")
    for number in range(scheduler_reports.MOST_REMEMBERED):
        now += 10
        pace.check(f"c{number}")
    assert len(pace._full_at) <= scheduler_reports.MOST_REMEMBERED


PAUSES = {".": 0.1, "-": 0.9, "=": 3.0}
"""Seconds between reports."""


@many
@given(st.text(["a", "b", *PAUSES], max_size=80))
def test_no_times_of_reports_let_a_cluster_cause_more_writes(events):
    """Clusters ``a`` and ``b`` report, with pauses."""
    now = 0.0
    pace = scheduler_reports.Pace(clock=lambda: now)
    accepted = {"a": [], "b": []}
    for event in events:
        now += PAUSES.get(event, 0)
        with contextlib.suppress(web.HTTPTooManyRequests):
            if event in accepted:
                pace.check(event)
                accepted[event].append(now)
    for times in accepted.values():
        for first, begin in enumerate(times):
            for count, end in enumerate(times[first:], start=1):
                assert count <= scheduler_reports.BURST + (end - begin) / scheduler_reports.LEAST_SECONDS + 1e-6


@pytest.mark.parametrize("body", ["", "{", "[]", "7", '"x"', "\x00"])
async def test_a_malformed_report_is_refused(gateway, body):
    client, noted = gateway
    answer = await client.post(
        scheduler_reports.START.format(cluster_name="cms.c1"), data=body, headers={"Authorization": "token secret"}
    )
    assert answer.status == 422
    assert noted == []


@pytest.mark.parametrize("route", [scheduler_reports.CLIENTS, scheduler_reports.START])
@pytest.mark.parametrize("wrong", [{"token": "guess"}, {"name": "cms.c2"}])
async def test_without_the_clusters_token_nothing_is_noted(gateway, route, wrong):
    client, noted = gateway
    assert await post(client, route, {}, **wrong) == 401
    assert noted == []
