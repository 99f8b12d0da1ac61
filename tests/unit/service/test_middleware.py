"""Test that malformed requests get a clear 4xx, in the form that the stock client raises as a message."""

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.errors import Refusal
from gateway.service import middleware


@pytest.fixture
async def client():
    async def echo(request):
        return web.json_response(await request.json() if await request.read() else None, status=201)

    app = web.Application(middlewares=[middleware.explain])
    app.router.add_route("*", "/", echo)
    async with TestClient(TestServer(app)) as made:
        yield made


async def answer(client, **arguments):
    async with client.post("/", **arguments) as response:
        return response.status, await response.json()


@pytest.mark.weakness(1)
@pytest.mark.parametrize("header", ["jupyterhub", "Basic", "jupyterhub ", "alice"])
async def test_a_header_without_credentials_is_a_client_without_token(client, header):
    status, said = await answer(client, headers={"Authorization": header}, json={})
    assert (status, said) == (401, {"error": "The Authorization header has no credentials: send a JupyterHub token."})


@pytest.mark.parametrize("body", [b"{", b"cluster_options", b"\xff", b"{'a': 1}", b" ", b"9" * 5000])
async def test_what_is_no_json_is_refused(client, body):
    assert await answer(client, data=body) == (422, {"error": "The request is not JSON: send a JSON object."})


@pytest.mark.parametrize("body", ["[]", '["cluster_options"]', "null", '"text"', "5", "true"])
async def test_json_that_is_no_object_is_refused(client, body):
    assert await answer(client, data=body) == (422, {"error": "The request must be a JSON object."})


async def test_a_large_request_is_refused(client):
    status, said = await answer(client, json={"env": {"A": "x" * 2**20}})
    assert status == 422
    assert said["error"].startswith("The request is too large: leave out of env")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "jupyterhub token"}])
async def test_a_good_request_arrives_whole(client, headers):
    body = {"cluster_options": {"env": {"A": "x" * 500_000, "B": "☃"}}}
    assert await answer(client, data=json.dumps(body), headers=headers) == (201, body)


async def test_a_request_without_a_body_arrives(client):
    async with client.get("/") as response:
        assert (response.status, await response.json()) == (201, None)


async def test_the_text_of_a_refusal_is_the_clients_message_alone():
    async def refuse(_):
        raise Refusal("pixi_env has 256 bytes:\nuse at most 255.")

    app = web.Application(middlewares=[middleware.explain])
    app.router.add_post("/", refuse)
    async with TestClient(TestServer(app)) as client:
        assert await answer(client, json={}) == (422, {"error": "pixi_env has 256 bytes: use at most 255."})
