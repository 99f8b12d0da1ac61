"""Test which reports of schedulers the gateways accept; upstream's own check of the cluster's token runs first."""

from types import SimpleNamespace

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application

from gateway.as_user import preload
from gateway.service import scheduler_reports


@pytest.fixture
async def gateway():
    noted = []

    async def get_cluster(name):
        return SimpleNamespace(token="secret") if name == "cms.c1" else None

    async def note_client(name):
        noted.append(name)

    async def note_start(name, address):
        noted.append((name, address))

    app = Application()
    app["backend"] = SimpleNamespace(get_cluster=get_cluster)
    scheduler_reports.take_clients(app, note_client)
    scheduler_reports.take_starts(app, note_start)
    async with TestClient(TestServer(app)) as client:
        yield client, noted


async def post(client, route, body, *, name="cms.c1", token="secret"):
    answer = await client.post(route.format(cluster_name=name), json=body, headers={"Authorization": f"token {token}"})
    return answer.status


async def test_clients_are_noted(gateway):
    client, noted = gateway
    assert await post(client, scheduler_reports.CLIENTS, {}) == 200
    assert noted == ["cms.c1"]


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ({preload.ADDRESS: "127.0.0.1"}, "127.0.0.1"),
        ({preload.ADDRESS: "10.0.0.1"}, None),
        ({preload.ADDRESS: ["127.0.0.1"]}, None),
        ({}, None),
    ],
)
async def test_a_scheduler_is_believed_only_the_address_from_which_it_speaks(gateway, said, address):
    client, noted = gateway
    assert await post(client, scheduler_reports.START, said) == 200
    assert noted == [("cms.c1", address)]


@pytest.mark.parametrize("route", [scheduler_reports.CLIENTS, scheduler_reports.START])
@pytest.mark.parametrize("wrong", [{"token": "guess"}, {"name": "cms.c2"}])
async def test_without_the_clusters_token_nothing_is_noted(gateway, route, wrong):
    client, noted = gateway
    assert await post(client, route, {preload.ADDRESS: "127.0.0.1"}, **wrong) == 401
    assert noted == []
