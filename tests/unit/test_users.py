"""Who a user is. Weakness numbers are those of the deployment that this project replaces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import users
from gateway.errors import Refusal
from gateway.users import Account


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("alice", "purdue"),
        ("dave-cern", "cern"),
        ("erin-fnal", "fnal"),
        ("a-cern-b", "purdue"),  # weakness 4: a substring is no suffix
        ("x-fnal-cern", "cern"),
        ("cern", "purdue"),
    ],
)
def test_the_exact_suffix_gives_the_class(testbed_site, name, wanted):
    assert users.classify(name, testbed_site.identity.classes).name == wanted


@pytest.mark.parametrize("name", ["", "-cern", "Alice", "al ice", "a/b", "../x", "service:hub", "a*", "a" * 64, "a\n"])
def test_what_is_no_user_name_is_refused(testbed_site, name):
    with pytest.raises(Refusal):
        users.classify(name, testbed_site.identity.classes)


def test_a_name_that_no_class_fits_is_refused(testbed_site):
    external = [user_class for user_class in testbed_site.identity.classes if user_class.suffix]
    with pytest.raises(Refusal, match="belongs to no class"):
        users.classify("alice", external)


def entry(name, uid="20001", gid="20000"):
    return {"uid": [name], "uidNumber": uid, "gidNumber": gid}


def test_the_account_has_all_groups():
    account = users.account_from_entries(
        "alice", [entry("alice")], [{"gidNumber": 21001}, {"gidNumber": "20000"}, {"gidNumber": 20500}]
    )
    assert account == Account("alice", 20001, 20000, (20500, 21001))


@pytest.mark.parametrize(
    "people",
    [[], [entry("alicia")], [entry("ALICE")], [entry("alice"), entry("alice", "20009")]],
    ids=["none", "prefix", "other case", "two"],
)
def test_exactly_one_entry_must_fit(people):  # weakness 5
    with pytest.raises(users.AccountUnknown):
        users.account_from_entries("alice", people, [])


@pytest.mark.parametrize(("uid", "gid"), [(0, 20000), (999, 20000), (20001, 0), (20001, 999), (-1, 20000)])
def test_system_accounts_are_refused(testbed_site, uid, gid):  # weakness 3
    with pytest.raises(Refusal, match="system account"):
        users.checked(Account("x", uid, gid, ()), testbed_site.identity)


@pytest.mark.parametrize("state", [None, {}, {"uid": 30001}, {"uid": "30001", "gid": 30000}, {"uid": True, "gid": 1}])
def test_an_incomplete_auth_state_gives_no_account(testbed_site, state):
    with pytest.raises(users.AccountUnknown):
        users.account_from_auth_state("dave-cern", state, testbed_site.identity.hub)


class Recorder:
    def __init__(self):
        self.asked = []

    async def account(self, name):
        self.asked.append(name)
        return Account(name, 20000 + len(self.asked), 20000, ())


async def test_accounts_are_remembered_for_a_bounded_time():
    now = [0.0]
    recorder = Recorder()
    directory = users.CachedDirectory(recorder, 60, clock=lambda: now[0])
    first = await directory.account("alice")
    now[0] = 59.9
    assert await directory.account("alice") is first
    now[0] = 60.0
    assert await directory.account("alice") != first
    assert recorder.asked == ["alice", "alice"]


@given(st.text())
def test_messages_fit_into_an_http_reason(text):
    message = str(Refusal(text))
    assert "\n" not in message
    assert "\r" not in message
