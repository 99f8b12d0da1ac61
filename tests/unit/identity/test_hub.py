"""Test that each fault of JupyterHub is told from a refused token."""

import asyncio
import ssl

import pytest
from aiohttp import ClientSession, ClientTimeout, web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import hub as module
from gateway.identity.guard import CredentialRefused
from gateway.identity.hub import Hub, HubUnavailable, trust, user_in
from gateway.service.tls import new_keypair

SERVICE = "dask-gateway"
SCOPES = [f"access:services!service={SERVICE}"]
ALICE = {"name": "alice", "kind": "user", "scopes": SCOPES}


async def slow(_):
    """Answer well, after the timeout."""
    await asyncio.sleep(5)
    return web.json_response({**ALICE, "auth_state": {}})


async def reset(request):
    request.transport.abort()
    return web.Response()


def answering(status=200, **arguments):
    async def answer(_):
        return web.Response(status=status, **arguments)

    return answer


FAULTS = {
    "slow": slow,
    "reset": reset,
    "no JSON": answering(text="{", content_type="application/json"),
    "deep JSON": answering(text="[" * 100_000, content_type="application/json"),
    "no text": answering(body=b"\xff", content_type="application/json"),
    "HTML": answering(text="<p>down</p>", content_type="text/html"),
    "a list": answering(text="[]", content_type="application/json"),
    "a redirect": answering(302, headers={"Location": "/hub/login"}),
    "too many requests": answering(429),
    **{str(status): answering(status) for status in (500, 502, 503, 504)},
}


@pytest.fixture
async def ask(monkeypatch):
    """A function that asks a hub, which answers by the handler, a question."""
    monkeypatch.setattr(module, "TIMEOUT", ClientTimeout(total=0.2))

    async def ask_one(handler, question):
        app = web.Application()
        app.router.add_get("/{path:.*}", handler)
        async with TestServer(app) as server, ClientSession() as session:
            return await question(Hub(session, str(server.make_url("/hub/api")), trusted=True))

    return ask_one


@pytest.mark.finding("R7")
async def test_the_sites_authority_alone_vouches_for_the_hub(testbed_site, tmp_path):
    """A hub with a certificate of another authority gets no token."""
    own, other = tmp_path / "own.pem", tmp_path / "other.pem"
    for path in (own, other):
        path.write_bytes(b"".join(new_keypair("localhost")))
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(own)
    tokens = []

    async def answer(request):
        tokens.append(request.headers["Authorization"])
        return web.json_response({**ALICE, "auth_state": {}})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    server = TestServer(app, host="localhost")
    await server.start_server(ssl=serving)
    # Leaving its context closes the server, and entering it does not start a started one.
    async with server, ClientSession() as session:

        def hub(ca_file):
            settings = testbed_site.identity.hub.model_copy(update={"ca_file": ca_file})
            return Hub(session, f"https://localhost:{server.port}/hub/api", trust(settings))

        for distrusted in (str(other), None):
            with pytest.raises(HubUnavailable):
                await hub(distrusted).user_of("t", SERVICE)
        assert tokens == []
        assert (await hub(str(own)).user_of("t", SERVICE)).name == "alice"


def test_a_missing_file_of_the_authority_is_named(testbed_site):
    settings = testbed_site.identity.hub.model_copy(update={"ca_file": "/absent/hub-ca.crt"})
    with pytest.raises(OSError, match=r"identity\.hub\.ca_file can't be used: /absent/hub-ca\.crt"):
        trust(settings)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    "question",
    [lambda hub: hub.user_of("t", SERVICE), lambda hub: hub.auth_state_of("dave-cern", "t")],
    ids=["token", "auth state"],
)
async def test_each_fault_of_the_hub_is_the_same(ask, fault, question):
    with pytest.raises(HubUnavailable, match=r"^JupyterHub"):
        await ask(FAULTS[fault], question)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_token_that_the_hub_does_not_know_is_refused(ask, status):
    with pytest.raises(CredentialRefused):
        await ask(answering(status), lambda hub: hub.user_of("t", SERVICE))


@pytest.mark.parametrize("state", ["null", "[]", "5", '"text"'])
async def test_what_is_no_auth_state_is_an_empty_one(ask, state):
    handler = answering(text=f'{{"auth_state": {state}}}', content_type="application/json")
    assert await ask(handler, lambda hub: hub.auth_state_of("dave-cern", "t")) == {}


def test_a_user_has_name_groups_and_rights_of_the_hub():
    user = user_in({**ALICE, "groups": ["cms"], "admin": True}, SERVICE)
    assert (user.name, user.groups, user.admin) == ("alice", {"cms"}, True)


@pytest.mark.parametrize(("kind", "name"), [("service", "alice"), ("user", "service:alice")])
def test_a_service_is_no_user(kind, name):
    assert ":" in user_in({**ALICE, "kind": kind, "name": name}, SERVICE).name


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.lists(st.text(max_size=8), max_size=2)
)


@given(st.dictionaries(st.sampled_from(["name", "kind", "scopes", "groups", "admin"]), values, max_size=5))
def test_whatever_the_hub_answers_gives_a_user_or_a_clear_error(answer):
    try:
        user = user_in({**ALICE, **answer}, SERVICE)
    except (CredentialRefused, HubUnavailable):
        return
    assert isinstance(user.name, str)
    assert user.admin is (answer.get("admin") is True)
