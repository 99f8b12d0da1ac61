"""The refusals that schedulers' jobs post: the token, and the content."""

from types import SimpleNamespace

import pytest
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application
from hypothesis import given
from hypothesis import strategies as st

from gateway.as_user import refusals
from gateway.errors import Refusal
from gateway.service import middleware, preflight_refusals
from gateway.service.preflight_refusals import text_of
from tests.unit.hostile import json_values, many, text


@pytest.fixture
async def gateway():
    noted = []

    async def get_cluster(name):
        return SimpleNamespace(token="secret") if name == "c1" else None

    async def note(name, text):
        noted.append((name, text))

    app = Application(middlewares=[middleware.explain])
    app["backend"] = SimpleNamespace(get_cluster=get_cluster)
    preflight_refusals.take(app, note)
    async with TestClient(TestServer(app)) as client:
        yield client, noted


@pytest.mark.parametrize(
    ("name", "token", "body", "status"),
    [
        ("c1", "secret", {"text": "no\ndask"}, 200),
        ("c1", "wrong", {"text": "no"}, 401),
        ("c2", "secret", {"text": "no"}, 401),
        ("c1", "secret", {"text": 5}, 422),
        ("c1", "secret", ["no"], 422),
    ],
)
async def test_only_the_cluster_itself_is_refused_by_its_job(gateway, name, token, body, status):
    client, noted = gateway
    headers = {"Authorization": f"token {token}"}
    answer = await client.post(f"/api/v1/clusters/{name}/{refusals.PATH}", json=body, headers=headers)
    assert answer.status == status
    assert noted == ([("c1", "no dask")] if status == 200 else [])


def test_a_refusal_is_one_line_of_printable_characters():
    assert text_of({"text": " a\nb\x00c\x1b[31m  d\u202e "}) == "a b c [31m d"


@pytest.mark.parametrize(
    "content",
    [None, [], "text", {}, {"text": ""}, {"text": 5}, {"text": None}, {"text": ["a"]}, {"text": "a", "more": "b"}],
)
def test_other_content_is_refused(content):
    with pytest.raises(Refusal):
        text_of(content)


def test_the_length_is_bounded():
    assert len(text_of({"text": "x" * refusals.MOST_CHARACTERS})) == refusals.MOST_CHARACTERS
    with pytest.raises(Refusal):
        text_of({"text": "x" * (refusals.MOST_CHARACTERS + 1)})


@many
@given(content=st.one_of(text.map(lambda said: {refusals.TEXT: said}), json_values))
def test_no_content_does_harm_to_a_line(content):
    try:
        found = text_of(content)
    except Refusal:
        return
    assert found.isprintable()
    assert found == found.strip()
