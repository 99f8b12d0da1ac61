"""The routes of the login, against a JupyterHub that answers as JupyterHub 6 does."""

import json
import logging
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import DummyCookieJar, web
from aiohttp.test_utils import TestClient, TestServer
from dask_gateway_server.models import ClusterStatus

from gateway import settings
from gateway.service.dashboards import logins
from gateway.service.dashboards.handlers import DashboardLogin
from gateway.site import Backend

pytestmark = pytest.mark.finding("R5")

SECRET = "token-of-the-gateway"
USERS = {name: {"kind": "user", "name": name, "admin": name == "olga"} for name in ("alice", "bob", "olga")}
ACCESS = ["access:services!service=dask-gateway"]
PATH = "/clusters/cms.a/status?x=1"
BROWSER = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
async def hub():
    """A JupyterHub with the code and the token ``NAME`` for each user; ``state`` changes what it answers."""
    state = SimpleNamespace(status=200, scopes=ACCESS, forms=[])

    async def token(request):
        form = dict(await request.post())
        state.forms.append(form)
        if form["client_secret"] != SECRET or form["code"] not in USERS:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"access_token": form["code"], "token_type": "Bearer"})

    async def user(request):
        if state.status != 200:
            return web.Response(status=state.status, text="<html>")
        name = request.headers["Authorization"].removeprefix("token ")
        if name == "service":
            return web.json_response({"kind": "service", "name": "alice", "admin": True, "scopes": ACCESS})
        if name not in USERS:
            return web.json_response({"message": "Missing or invalid credentials."}, status=403)
        return web.json_response({**USERS[name], "scopes": state.scopes})

    app = web.Application()
    app.router.add_post("/hub/api/oauth2/token", token)
    app.router.add_get("/hub/api/user", user)
    async with TestServer(app) as server:
        state.url = str(server.make_url("/hub/api"))
        yield state


@pytest.fixture
async def gateway(hub, testbed_site, monkeypatch):
    monkeypatch.setattr(settings, "hub_token", lambda: SECRET)
    described = testbed_site.identity.hub.model_copy(update={"api_url": hub.url})
    identity = testbed_site.identity.model_copy(update={"hub": described})
    clusters = {"cms.a": SimpleNamespace(username="alice", status=ClusterStatus.RUNNING)}

    async def find(name):
        return clusters.get(name)

    app = web.Application()
    site = testbed_site.model_copy(update={"identity": identity})
    DashboardLogin(site, Backend.KUBERNETES, find, logging.getLogger("gateway")).add_routes(app)
    async with TestClient(TestServer(app), cookie_jar=DummyCookieJar()) as client:
        yield client


async def ask(gateway, path=PATH, **headers):
    """Ask as Traefik does."""
    forwarded = {"X-Forwarded-Uri": path, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await gateway.get("/dashboards/authorize", headers=forwarded, allow_redirects=False)


async def begin(gateway):
    """Begin a login; return the state that the hub gets, and the cookies that the browser gets."""
    answer = await ask(gateway, **BROWSER)
    assert answer.status == 302
    (state,) = parse_qs(urlsplit(answer.headers["Location"]).query)["state"]
    return state, answer.cookies


async def finish(gateway, code, state, cookies):
    sent = "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items())
    parameters = {"code": code, "state": state}
    return await gateway.get("/dashboards/callback", params=parameters, headers={"Cookie": sent}, allow_redirects=False)


async def log_in(gateway, name):
    return await finish(gateway, name, *await begin(gateway))


def audited(caplog):
    """Return the audit lines' user, role, action, cluster and outcome."""
    lines = [json.loads(record.message) for record in caplog.records if record.name == "gateway.audit"]
    return [tuple(line[key] for key in ("user", "role", "action", "cluster", "outcome")) for line in lines]


async def test_the_owner_logs_in_and_sees_the_dashboard_again(gateway, hub, caplog):
    caplog.set_level(logging.INFO)
    answer = await log_in(gateway, "alice")
    assert (answer.status, answer.headers["Location"]) == (302, PATH)
    cookie = answer.cookies[logins.LOGIN_COOKIE]
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/clusters/cms.a/", True, "Lax")
    assert cookie["secure"] is True
    assert hub.forms[0]["redirect_uri"] == "https://dask-gateway-k8s.geddes.rcac.purdue.edu/dashboards/callback"
    assert (await ask(gateway, Cookie=f"{logins.LOGIN_COOKIE}={cookie.value}")).status == 204
    other = await ask(gateway, "/clusters/cms.b/status", Cookie=f"{logins.LOGIN_COOKIE}={cookie.value}")
    assert other.status == 401
    assert audited(caplog) == [("alice", "user", "log in at dashboard", "cms.a", "accepted")]


async def test_another_user_is_refused_and_gets_no_cookie(gateway, caplog):
    caplog.set_level(logging.INFO)
    answer = await log_in(gateway, "bob")
    assert answer.status == 403
    assert logins.LOGIN_COOKIE not in answer.cookies
    assert audited(caplog) == [("bob", "user", "log in at dashboard", "cms.a", "refused")]


async def test_an_administrator_looks_and_it_is_logged(gateway, caplog):
    caplog.set_level(logging.INFO)
    assert (await log_in(gateway, "olga")).status == 302
    assert (await ask(gateway, Authorization="token olga")).status == 204
    assert audited(caplog) == [
        ("olga", "administrator", "log in at dashboard", "cms.a", "accepted"),
        ("olga", "administrator", "open dashboard", "cms.a", "accepted"),
    ]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("token alice", 204),
        ("Bearer alice", 204),
        ("jupyterhub alice", 204),
        ("token bob", 403),
        ("token mallory", 401),
        ("token service", 403),
        ("token ", 401),
        ("token a b", 401),
        ("token " + "a" * 1000, 401),
        ("Basic YWxpY2U6", 401),
    ],
)
async def test_a_program_shows_a_token(gateway, header, status):
    assert (await ask(gateway, Authorization=header)).status == status


async def test_a_token_without_access_to_the_gateway_is_refused(gateway, hub):
    hub.scopes = ["read:users!user=alice", "access:services!service=other"]
    assert (await ask(gateway, Authorization="token alice")).status == 401


async def test_without_a_login_a_browser_goes_to_the_hub_and_a_program_reads_what_to_do(gateway):
    program = await ask(gateway)
    assert program.status == 401
    assert "Authorization: token TOKEN" in (await program.text()).replace("&#x27;", "'")
    assert (await ask(gateway, **BROWSER)).status == 302
    assert (await ask(gateway, **BROWSER, X_Forwarded_Method="POST")).status == 401


@pytest.mark.parametrize("path", ["", "/", "/api/v1/clusters/", "/clusters/cms.a/../cms.b/", "//evil/clusters/cms.a/"])
async def test_a_path_that_is_no_dashboard_is_refused_even_with_a_token(gateway, path):
    assert (await ask(gateway, path, Authorization="token alice")).status == 403


async def test_a_refusal_does_not_tell_whether_the_cluster_exists(gateway):
    answers = [await ask(gateway, f"/clusters/{name}/", Authorization="token bob") for name in ("cms.a", "cms.none")]
    assert [(answer.status, await answer.text()) for answer in answers] == [(403, await answers[0].text())] * 2


async def test_a_login_that_another_browser_began_is_refused(gateway, hub):
    state, _ = await begin(gateway)
    _, of_other = await begin(gateway)
    for cookies in ({}, of_other):
        answer = await finish(gateway, "alice", state, cookies)
        assert (answer.status, logins.LOGIN_COOKIE in answer.cookies) == (400, False)
    assert hub.forms == []


@pytest.mark.parametrize("code", ["", "unknown", "a b", "é", "a" * 1000])
async def test_a_code_that_the_hub_did_not_give_is_refused(gateway, code):
    answer = await log_in(gateway, code)
    assert (answer.status, logins.LOGIN_COOKIE in answer.cookies) == (403, False)


@pytest.mark.parametrize("status", [500, 503])
async def test_a_hub_that_does_not_answer_is_told(gateway, hub, status):
    hub.status = status
    for answer in (await log_in(gateway, "alice"), await ask(gateway, Authorization="token alice")):
        assert (answer.status, "try again in a minute" in await answer.text()) == (502, True)


async def test_many_unknown_tokens_ask_the_hub_a_bounded_number_of_times(gateway):
    statuses = [(await ask(gateway, Authorization=f"token unknown{number}")).status for number in range(20)]
    assert (statuses[0], statuses[-1]) == (401, 429)
