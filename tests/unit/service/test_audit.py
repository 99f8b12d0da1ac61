"""Test the audit lines of requests, and that hostile names and bodies make no other line."""

import json
import logging
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refusal
from gateway.identity.authenticator import PERSON
from gateway.identity.source import Proxies
from gateway.service import audit, middleware
from tests.unit.hostile import many

SECRET = "f3b1c0ffee"
BODY = {"cluster_options": {"env": {"TOKEN": SECRET}}}
pytestmark = pytest.mark.finding("R10")


def route(status, user=None, body=None):
    """Return a handler that authenticates a user as upstream does, and answers."""

    async def answer(request):
        if user is not None:
            request["user"] = SimpleNamespace(name=user)
        if status is Refusal:
            raise Refusal(f"no {SECRET}")
        if status == 500:
            raise OSError(SECRET)
        return web.json_response(body or {}, status=status)

    return answer


@pytest.fixture
async def lines(caplog, testbed_site):
    """A function that sends a request to a handler, and returns the audit lines."""
    caplog.set_level(logging.INFO, "gateway.audit")

    async def sent(method, path, handler, pattern=None):
        app = web.Application(middlewares=middleware.all_of(Proxies(), testbed_site.slurm))
        app.router.add_route(method, pattern or path, handler)
        async with TestClient(TestServer(app)) as client:
            await client.request(method, path, json=BODY, headers={"Authorization": f"jupyterhub {SECRET}"})
        written = [record.getMessage() for record in caplog.records if record.name == "gateway.audit"]
        assert SECRET not in "".join(written)
        return [json.loads(line) for line in written]

    return sent


ONE = "/api/v1/clusters/{cluster_name}"


@pytest.mark.parametrize(
    ("method", "path", "pattern", "action"),
    [
        ("DELETE", "/api/v1/clusters/cms.a1", ONE, "stop"),
        ("POST", "/api/v1/clusters/cms.a1/scale", f"{ONE}/scale", "scale"),
        ("POST", "/api/v1/clusters/cms.a1/adapt", f"{ONE}/adapt", "adapt"),
    ],
)
@pytest.mark.parametrize(("status", "outcome"), [(200, "accepted"), (403, "refused"), (Refusal, "refused")])
async def test_a_change_of_a_cluster_has_one_line(lines, method, path, pattern, action, status, outcome):
    (line,) = await lines(method, path, route(status, "alice"), pattern)
    wanted = {"user": "alice", "source": "127.0.0.1", "action": action, "cluster": "cms.a1", "outcome": outcome}
    assert wanted.items() <= line.items()
    assert line["status"] == str(422 if status is Refusal else status)


async def test_a_new_cluster_has_its_name(lines):
    (line,) = await lines("POST", "/api/v1/clusters/", route(201, "alice", {"name": "cms.b2"}))
    assert (line["action"], line["cluster"], line["outcome"]) == ("create", "cms.b2", "accepted")


async def test_a_refused_cluster_has_a_line_without_the_reason(lines):
    (line,) = await lines("POST", "/api/v1/clusters/", route(Refusal, "alice"))
    assert (line["action"], line["cluster"], line["outcome"], line["status"]) == ("create", "", "refused", "422")


async def test_an_error_has_a_line(lines):
    (line,) = await lines("POST", "/api/v1/clusters/", route(500, "alice"))
    assert (line["outcome"], line["status"]) == ("refused", "500")


async def test_a_user_whom_this_gateway_does_not_serve_has_a_line(lines):
    async def refuse(request):
        request[PERSON] = "erin-fnal"
        raise web.HTTPUnprocessableEntity

    (line,) = await lines("POST", "/api/v1/clusters/", refuse)
    assert (line["user"], line["outcome"]) == ("erin-fnal", "refused")


async def test_a_cluster_that_stops_itself_is_told_from_users(lines):
    async def stop(request):
        request["user"] = None
        return web.Response(status=204)

    (line,) = await lines("DELETE", "/api/v1/clusters/cms.a1", stop, ONE)
    assert line["user"] == audit.CLUSTER_TOKEN


async def test_requests_without_an_accepted_credential_have_no_line(lines):
    assert await lines("POST", "/api/v1/clusters/", route(401)) == []


async def test_a_request_that_comes_again_with_its_token_has_one_line(lines):
    """The gateway knows the user by a cookie, and asks for the token (gateway/slurm/start.py)."""
    assert await lines("POST", "/api/v1/clusters/", route(401, "alice")) == []


async def test_requests_that_change_nothing_have_no_line(lines):
    assert await lines("GET", "/api/v1/clusters/cms.a1", route(200, "alice"), ONE) == []


@many
@given(
    st.dictionaries(
        st.sampled_from(["user", "source", "cluster"]), st.text(max_size=2 * audit.MOST_CHARACTERS), min_size=1
    )
)
def test_a_line_is_one_bounded_line_of_ascii(fields):
    line = audit.line(**fields)
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 3 * (2 * audit.MOST_CHARACTERS + 20)
    values = json.loads(line)
    assert set(values) == set(fields)
    assert all(value.isascii() and len(value) <= audit.MOST_CHARACTERS for value in values.values())
    assert not any(set(value) & set("\r\n\x1b\x7f") for value in values.values())


def test_a_long_value_is_cut():
    assert audit.plain("a" * 10_000) == "a" * audit.MOST_CHARACTERS
