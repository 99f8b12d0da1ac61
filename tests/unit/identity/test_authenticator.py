"""Test which JupyterHub users the gateways serve, and which account each user has."""

import base64
import copy
import pathlib
import pickle
import re
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request

from gateway import settings
from gateway.errors import Refusal
from gateway.identity import authenticator as module
from gateway.identity import source
from gateway.identity.accounts import Account, AccountUnknown
from gateway.identity.authenticator import HubAuthenticator
from gateway.identity.hub import Hub
from gateway.kubernetes.api.backend import FacilityKubeBackend
from gateway.kubernetes.api.configuration import api_config
from gateway.site import Backend

SCOPE = "access:services!service=dask-gateway"
AUTH_STATES = {
    "dave-cern": {"uid": 30001, "gid": 30000},
    "erin-fnal": {"uid": 30002, "gid": 30000},
    "thief-cern": {"uid": 20001, "gid": 20000},
    "frank-fnal": {},
    "root-cern": {"uid": 0, "gid": 0},
    "new-cern": None,
}


class People:
    """A directory with alice, two pool accounts and a system account."""

    async def account(self, name):
        known = {"alice": 20001, "paf0001": 30001, "paf1002": 30002, "daemon": 2}
        if name not in known:
            raise AccountUnknown(f"The directory has no account named {name!r}.")
        return Account(name, known[name], 20000, (21001, 4))

    async def account_of_uid(self, uid):
        known = {20001: "alice", 30002: "paf1002"}
        return Account(known[uid], uid, 20000 if uid == 20001 else 30000, ()) if uid in known else None


@pytest.fixture
async def hub():
    """A JupyterHub whose tokens equal the users' names. The token of ``x`` lacks the gateways' scope.

    Its list ``asked`` has the tokens of which it was asked.
    """
    asked = []

    async def user(request):
        name = request.headers["Authorization"].removeprefix("token ")
        asked.append(name)
        if name.startswith("wrong"):
            raise web.HTTPForbidden
        return web.json_response({"name": name, "kind": "user", "scopes": [] if name == "x" else [SCOPE]})

    async def auth_state(request):
        assert request.headers["Authorization"] == "token of-the-gateway"
        name = request.match_info["name"]
        if name not in AUTH_STATES:
            raise web.HTTPServiceUnavailable
        return web.json_response({"name": name, "auth_state": AUTH_STATES[name]})

    app = web.Application()
    app.router.add_get("/hub/api/user", user)
    app.router.add_get("/hub/api/users/{name}", auth_state)
    async with TestServer(app) as server:
        server.asked = asked
        yield server


@pytest.fixture(params=Backend)
def backend(request):
    return request.param


@pytest.fixture
async def authenticator(hub, testbed_site, backend, monkeypatch):
    monkeypatch.setattr(settings, "hub_token", lambda: "of-the-gateway")
    made = HubAuthenticator(site=testbed_site, backend=backend.value, jupyterhub_api_url=str(hub.make_url("/hub/api")))
    await made.setup(SimpleNamespace())
    made.directory = People()
    yield made
    await made.cleanup()


@pytest.fixture(autouse=True)
def _directory_without_server(monkeypatch):
    monkeypatch.setattr(module.directory, "of_identity", lambda _: People())


async def answer_to(authenticator, header):
    headers = {} if header is None else {"Authorization": header}
    request = make_mocked_request("GET", "/", headers=headers)
    request[source.SOURCE] = "192.0.2.1"
    return await authenticator.authenticate(request)


async def refusal_of(authenticator, name):
    with pytest.raises(web.HTTPUnprocessableEntity) as caught:
        await answer_to(authenticator, f"jupyterhub {name}")
    return caught.value.reason


kubernetes = pytest.mark.parametrize("backend", [Backend.KUBERNETES])
slurm = pytest.mark.parametrize("backend", [Backend.SLURM])


@pytest.mark.weakness(1)
@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "jupyterhub",
        "jupyterhub ",
        "Basic " + base64.b64encode(b"alice:").decode(),
        "token alice",
        "Bearer alice",
        "JupyterHub alice",
        "jupyterhub wrong",
        "jupyterhub alice\x00",
        f"jupyterhub {'a' * 1025}",
        "jupyterhub x",
    ],
)
async def test_nobody_is_a_user_without_a_token_of_the_hub(authenticator, header):
    with pytest.raises(web.HTTPUnauthorized):
        await answer_to(authenticator, header)


async def test_a_token_that_fits_into_no_header_is_none(authenticator):
    assert authenticator.get_token(SimpleNamespace(headers={"Authorization": "jupyterhub \udcff"})) is None


@pytest.mark.weakness(1, 3, 11)
async def test_the_tokens_user_has_the_account_of_the_directory(authenticator):
    user = await answer_to(authenticator, "jupyterhub alice")
    assert (user.name, user.user_class.name) == ("alice", "purdue")
    assert user.account == Account("alice", 20001, 20000, (21001,))


@kubernetes
async def test_the_hubs_own_account_is_taken_where_the_site_says_so(authenticator):
    user = await answer_to(authenticator, "jupyterhub dave-cern")
    assert user.account == Account("dave-cern", 30001, 30000, ())


@pytest.mark.finding("R8")
@kubernetes
async def test_the_pools_account_is_the_one_of_the_hub(authenticator):
    user = await answer_to(authenticator, "jupyterhub erin-fnal")
    assert user.account == Account("paf1002", 30002, 30000, ())


@pytest.mark.finding("R8")
@kubernetes
@pytest.mark.parametrize(
    ("name", "words"), [("frank-fnal", "stores no account"), ("thief-cern", "uid 20001, which is not that of a pool")]
)
async def test_an_external_user_without_a_lent_account_is_refused(authenticator, name, words):
    assert words in await refusal_of(authenticator, name)


@pytest.mark.weakness(8)
@slurm
@pytest.mark.parametrize("name", ["dave-cern", "erin-fnal", "nobody-cern"])
async def test_slurm_is_for_purdue_users_only(authenticator, name):
    said = await refusal_of(authenticator, name)
    assert "for Purdue users only, because of Purdue's data access policies" in said
    assert "Gateway() without arguments" in said


@pytest.mark.weakness(12)
@pytest.mark.parametrize("name", ["jovyan", "bob"])
async def test_a_name_without_an_account_has_none(authenticator, name):
    assert await refusal_of(authenticator, name) == f"The directory has no account named '{name}'."


@pytest.mark.weakness(12)
def test_no_name_and_no_number_is_special():
    sources = [path.read_text() for path in pathlib.Path(module.__file__).parents[1].rglob("*.py")]
    assert not [text for text in sources if re.search(r"jovyan|616617", text)]


@pytest.mark.weakness(14)
@pytest.mark.parametrize("name", ["paf0001", "paf1002", "paf9999"])
async def test_nobody_is_an_account_of_the_pool_by_name(authenticator, name):
    assert "is the name of a pool account, not of a user" in await refusal_of(authenticator, name)


@pytest.mark.weakness(3)
async def test_a_system_account_is_nobodys(authenticator):
    assert "system account" in await refusal_of(authenticator, "daemon")


@pytest.mark.weakness(3)
@kubernetes
async def test_a_system_account_of_the_hub_is_nobodys(authenticator):
    assert "system account" in await refusal_of(authenticator, "root-cern")


@kubernetes
@pytest.mark.parametrize(("name", "words"), [("new-cern", "stores no account")])
async def test_without_an_account_of_the_hub_there_is_none(authenticator, name, words):
    assert words in await refusal_of(authenticator, name)


@kubernetes
async def test_a_hub_that_gives_no_auth_state_is_no_refusal(authenticator):
    with pytest.raises(web.HTTPBadGateway, match="JupyterHub answers 503: try again in a minute"):
        await answer_to(authenticator, "jupyterhub down-cern")


@pytest.mark.weakness(9)
@pytest.mark.parametrize("name", ["al*e", "alice)(uid=*", "service:alice", "ali ce", "$(id)", "a;id", "Alice"])
async def test_names_with_a_meaning_elsewhere_are_refused(authenticator, name):
    assert "is not a user name of this facility" in await refusal_of(authenticator, name)


async def test_a_hub_that_is_down_is_no_wrong_token(authenticator):
    authenticator.hub = Hub(authenticator.session, "http://127.0.0.1:9/hub/api", trusted=True)
    with pytest.raises(web.HTTPBadGateway, match="try again in a minute"):
        await answer_to(authenticator, "jupyterhub alice")


@pytest.mark.finding("R4g")
async def test_unknown_tokens_ask_the_hub_a_bounded_number_of_times(authenticator, hub):
    await answer_to(authenticator, "jupyterhub alice")
    answers = []
    for number in range(60):
        with pytest.raises((web.HTTPUnauthorized, web.HTTPTooManyRequests)) as caught:
            await answer_to(authenticator, f"jupyterhub wrong{number}")
        answers.append(caught.value.status)
    assert len(hub.asked) <= 1 + module.TOKENS.attempts + 1
    assert answers[0] == 401
    assert answers[-1] == 429
    assert (await answer_to(authenticator, "jupyterhub alice")).name == "alice"


@pytest.mark.finding("R10")
@pytest.mark.parametrize(("scheme", "secure"), [("http", False), ("https", True)])
async def test_the_cookie_is_of_no_use_to_scripts_and_other_sites(authenticator, backend, scheme, secure):
    gateway = authenticator.site.gateway(Backend(backend))
    address = gateway.address.replace("https:", f"{scheme}:")
    changed = {backend.value: gateway.model_copy(update={"address": address})}
    authenticator.site = authenticator.site.model_copy(update=changed)
    request = make_mocked_request("GET", "/", headers={"Authorization": "jupyterhub alice"})
    request[source.SOURCE] = "192.0.2.1"

    async def handler(_):
        return web.Response()

    cookie = (await authenticator.authenticate_and_handle(request, handler)).cookies[authenticator.cookie_name]
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Lax", secure)
    assert ("Secure" in cookie.OutputString()) is secure


@pytest.mark.finding("R6")
async def test_the_handlers_user_has_the_requests_own_token_and_the_remembered_one_has_none(authenticator):
    seen = []

    async def handler(request):
        seen.append(request["user"])
        return web.Response()

    async def handle(**headers):
        request = make_mocked_request("GET", "/", headers=headers)
        request[source.SOURCE] = "192.0.2.1"
        return await authenticator.authenticate_and_handle(request, handler)

    answer = await handle(Authorization="jupyterhub alice")
    cookie = f"{authenticator.cookie_name}={answer.cookies[authenticator.cookie_name].value}"
    await handle(Cookie=cookie)
    await handle(Cookie=cookie, Authorization="jupyterhub another")
    await handle(Cookie=cookie, Authorization="token another")
    assert [(user.name, user.token) for user in seen] == [
        ("alice", "alice"),
        ("alice", None),
        ("alice", "another"),
        ("alice", None),
    ]
    assert {user.token for _, user in authenticator.cache.cookie_to_user.values()} == {None}


@pytest.mark.finding("R6")
async def test_a_token_is_in_no_text_no_copy_and_no_pickle_of_its_user(authenticator):
    user = (await answer_to(authenticator, "jupyterhub alice")).with_token("c0ffee")
    assert copy.copy(user).token is None
    assert b"c0ffee" not in pickle.dumps(user)
    assert "c0ffee" not in f"{user} {user!r}"


@pytest.fixture
def requests(testbed_site):
    return FacilityKubeBackend(config=api_config(testbed_site), site=testbed_site)


CONDA = "/depot/cms/c"


@pytest.mark.weakness(3)
@kubernetes
@pytest.mark.parametrize("name", ["dave-cern", "erin-fnal"])
@pytest.mark.parametrize(
    "env",
    [
        {},
        {"NB_UID": "0", "NB_GID": "0"},
        {"NB_UID": "20001", "NB_GID": "20000"},
        {"NB_UID": "30001", "NB_GID": "20000"},
        {"NB_UID": "30002", "NB_GID": "20000"},
        {"NB_UID": "30002", "NB_GID": "0"},
    ],
)
async def test_external_users_claim_their_own_account_or_none(authenticator, requests, name, env):
    user = await answer_to(authenticator, f"jupyterhub {name}")
    with pytest.raises(Refusal, match=r"NB_[UG]ID|pool"):
        await requests.prepare(user, {"conda_env": CONDA, "env": env})


@pytest.mark.weakness(14)
@kubernetes
@pytest.mark.parametrize(("name", "uid"), [("dave-cern", 30001), ("erin-fnal", 30002)])
async def test_external_users_run_as_the_account_that_they_claim(authenticator, requests, name, uid):
    user = await answer_to(authenticator, f"jupyterhub {name}")
    env = {"NB_UID": str(uid), "NB_GID": "30000"}
    prepared = await requests.prepare(user, {"conda_env": CONDA, "env": env})
    context = prepared.config.worker_extra_pod_config["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (uid, 30000)
    assert prepared.options["env"] == {}


@pytest.mark.weakness(3)
@kubernetes
async def test_the_account_of_purdue_users_is_not_theirs_to_claim(authenticator, requests):
    user = await answer_to(authenticator, "jupyterhub alice")
    prepared = await requests.prepare(user, {"conda_env": CONDA, "env": {"NB_UID": "0", "NB_GID": "0"}})
    assert prepared.config.worker_extra_pod_config["securityContext"]["runAsUser"] == 20001
