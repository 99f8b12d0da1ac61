"""Signed claims, and who may see a dashboard."""

import string
from types import SimpleNamespace

import pytest
from dask_gateway_server.models import ClusterStatus
from hypothesis import given
from hypothesis import strategies as st

from gateway.service.dashboards import logins, signing
from gateway.service.dashboards.logins import Visitor
from tests.unit.hostile import many

pytestmark = pytest.mark.finding("R5")

KEY, OTHER = signing.derived_key("token of the gateway"), signing.derived_key("another token")
NOW = 1_800_000_000.0
ALICE, OLGA = Visitor("alice", is_administrator=False), Visitor("olga", is_administrator=True)
COOKIE = logins.login_cookie(KEY, ALICE, "cms.a", NOW)
STATE = logins.state(KEY, "/clusters/cms.a/status?x=1", "nonce", NOW)
NAMES = st.text(min_size=1, max_size=64)


def running(owner="alice", status=ClusterStatus.RUNNING):
    return SimpleNamespace(username=owner, status=status)


def test_the_key_is_not_the_secret_and_differs_by_secret():
    assert len({KEY, OTHER, b"token of the gateway"}) == 3


@given(NAMES, st.booleans(), st.floats(0, logins.LOGIN_SECONDS - 1))
def test_a_login_holds_for_its_cluster_and_time(name, is_administrator, later):
    visitor = Visitor(name, is_administrator)
    cookie = logins.login_cookie(KEY, visitor, "cms.a", NOW)
    assert set(cookie) <= set(string.ascii_letters + string.digits + "-_.")
    assert logins.visitor_of(KEY, cookie, "cms.a", NOW + later) == visitor
    assert logins.visitor_of(KEY, cookie, "cms.a", NOW + logins.LOGIN_SECONDS) is None
    assert logins.visitor_of(KEY, cookie, "cms.b", NOW) is None
    assert logins.visitor_of(OTHER, cookie, "cms.a", NOW) is None


@given(st.integers(0, len(COOKIE) - 1), st.characters())
def test_a_changed_cookie_is_worthless(place, character):
    changed = f"{COOKIE[:place]}{character}{COOKIE[place + 1 :]}"
    assert logins.visitor_of(KEY, changed, "cms.a", NOW) == (ALICE if changed == COOKIE else None)


@many
@given(st.text() | st.text(alphabet="ab.=_-0123456789"))
def test_a_made_up_text_is_no_login_and_no_state(text):
    assert logins.visitor_of(KEY, text, "cms.a", NOW) is None
    assert logins.begun_at(KEY, text, NOW) is None


def test_a_state_is_no_login_and_a_login_no_state():
    assert logins.visitor_of(KEY, STATE, "cms.a", NOW) is None
    assert logins.begun_at(KEY, COOKIE, NOW) is None


def test_a_state_tells_where_the_login_began_until_it_expires():
    assert logins.begun_at(KEY, STATE, NOW) == ("/clusters/cms.a/status?x=1", "cms.a", "nonce")
    assert logins.begun_at(KEY, STATE, NOW + logins.STATE_SECONDS) is None
    assert logins.begun_at(OTHER, STATE, NOW) is None


@many
@given(st.text())
def test_even_a_signed_state_leads_only_to_a_dashboard(path):
    begun = logins.begun_at(KEY, logins.state(KEY, path, "nonce", NOW), NOW)
    assert begun is None or begun[0].startswith(f"/clusters/{begun[1]}/")


@given(st.none() | st.text())
def test_only_the_browser_with_the_nonce_finishes_a_login(cookie):
    assert logins.is_same("nonce", cookie) == (cookie == "nonce")


@pytest.mark.parametrize(
    ("visitor", "cluster", "allowed"),
    [
        (ALICE, running(), True),
        (ALICE, running(status=ClusterStatus.PENDING), True),
        (ALICE, running("bob"), False),
        (ALICE, None, False),
        (ALICE, running(status=ClusterStatus.STOPPED), False),
        (ALICE, running(status=ClusterStatus.STOPPING), False),
        (ALICE, running(status=ClusterStatus.FAILED), False),
        (OLGA, running(), True),
        (OLGA, None, False),
        (Visitor("Alice", is_administrator=False), running(), False),
        (Visitor("alice ", is_administrator=False), running(), False),
    ],
)
def test_owner_and_administrator_see_a_living_cluster(visitor, cluster, allowed):
    assert logins.may_see(visitor, cluster) is allowed
