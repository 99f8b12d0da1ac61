"""Who a user is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refusal
from gateway.identity import accounts
from gateway.identity.accounts import Account


@pytest.mark.weakness(4)
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("alice", "purdue"),
        ("dave-cern", "cern"),
        ("erin-fnal", "fnal"),
        ("a-cern-b", "purdue"),
        ("x-fnal-cern", "cern"),
        ("cern", "purdue"),
    ],
)
def test_the_exact_suffix_gives_the_class(testbed_site, name, wanted):
    assert accounts.classify(name, testbed_site.identity.classes).name == wanted


@pytest.mark.weakness(9)
@pytest.mark.parametrize("name", ["", "-cern", "Alice", "al ice", "a/b", "../x", "service:hub", "a*", "a" * 64, "a\n"])
def test_what_is_no_user_name_is_refused(testbed_site, name):
    with pytest.raises(Refusal):
        accounts.classify(name, testbed_site.identity.classes)


def test_a_name_that_no_class_fits_is_refused(testbed_site):
    external = [user_class for user_class in testbed_site.identity.classes if user_class.suffix]
    with pytest.raises(Refusal, match="does not belong to a user class"):
        accounts.classify("alice", external)


def entry(name, uid="20001", gid="20000"):
    return {"uid": [name], "uidNumber": uid, "gidNumber": gid}


@pytest.mark.weakness(11)
def test_the_account_has_all_groups():
    account = accounts.account_from_entries(
        "alice", [entry("alice")], [{"gidNumber": 21001}, {"gidNumber": "20000"}, {"gidNumber": 20500}]
    )
    assert account == Account("alice", 20001, 20000, (20500, 21001))


@pytest.mark.weakness(5)
@pytest.mark.parametrize(
    "people",
    [[], [entry("alicia")], [entry("ALICE")], [entry("alice"), entry("alice", "20009")]],
    ids=["none", "prefix", "other case", "two"],
)
def test_exactly_one_entry_must_fit(people):
    with pytest.raises(accounts.AccountUnknown):
        accounts.account_from_entries("alice", people, [])


@pytest.mark.weakness(3)
@pytest.mark.parametrize(
    ("uid", "gid"),
    [(0, 20000), (999, 20000), (20001, 0), (20001, 999), (-1, 20000), (2**32 - 1, 20000), (20001, 2**32 - 1)],
)
def test_system_accounts_are_refused(testbed_site, uid, gid):
    with pytest.raises(Refusal, match="system account"):
        accounts.checked(Account("x", uid, gid, ()), testbed_site.identity)


@pytest.mark.parametrize("state", [None, {}, {"uid": 30001}, {"uid": "30001", "gid": 30000}, {"uid": True, "gid": 1}])
def test_an_incomplete_auth_state_gives_no_account(testbed_site, state):
    with pytest.raises(accounts.AccountUnknown):
        accounts.account_from_auth_state("dave-cern", state, testbed_site.identity.hub)


@given(st.text())
def test_messages_fit_into_an_http_reason(text):
    message = str(Refusal(text))
    assert "\n" not in message
    assert "\r" not in message
