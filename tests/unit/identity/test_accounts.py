"""Test a user's class, the account from the directory or the hub, and the check of a claimed account."""

import pytest

from gateway.errors import Refusal
from gateway.identity import accounts
from gateway.identity.accounts import Account, AccountUnknown
from gateway.site import Hub
from tests.unit.identity.samples import ENV, ERIN


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
    with pytest.raises(AccountUnknown):
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
    with pytest.raises(AccountUnknown):
        accounts.account_from_auth_state("dave-cern", state, testbed_site.identity.hub)


HUB = Hub(api_url="http://hub/hub/api", public_url="http://hub/hub", service_name="dask-gateway", groups_key="gids")


@pytest.mark.weakness(11)
def test_the_hub_tells_all_groups():
    state = {"uid": 30001, "gid": 30000, "gids": [31002, 30000, 31001, 31002]}
    account = accounts.account_from_auth_state("dave-cern", state, HUB)
    assert account == Account("dave-cern", 30001, 30000, (31001, 31002))


@pytest.mark.parametrize("groups", [["31001"], [True], [31001, None]])
def test_groups_that_are_no_numbers_are_refused(groups):
    with pytest.raises(AccountUnknown):
        accounts.account_from_auth_state("dave-cern", {"uid": 30001, "gid": 30000, "gids": groups}, HUB)


@pytest.mark.weakness(3)
def test_groups_of_the_system_are_left_out(testbed_site):
    account = Account("x", 20001, 20000, (0, 4, 999, 1000, 21001, 2**32 - 1))
    assert accounts.checked(account, testbed_site.identity).groups == (1000, 21001)


def uid_entry(*names):
    return {"uid": list(names), "uidNumber": 30002, "gidNumber": 30000}


@pytest.mark.weakness(14)
def test_the_name_of_a_uid_is_that_of_its_one_entry():
    assert accounts.name_of_uid(30002, [uid_entry("paf1002")]) == "paf1002"
    assert accounts.name_of_uid(30002, []) is None


@pytest.mark.weakness(14)
@pytest.mark.parametrize(
    "people", [[uid_entry("paf1002"), uid_entry("alice")], [uid_entry("paf1002", "alice")]], ids=["entries", "names"]
)
def test_a_uid_with_several_names_is_refused(people):
    with pytest.raises(AccountUnknown, match="The directory has 2 names for the uid 30002"):
        accounts.name_of_uid(30002, people)


@pytest.mark.parametrize(
    ("env", "missing"),
    [({}, "NB_UID and NB_GID"), ({"NB_UID": "30002"}, "NB_GID"), ({"NB_GID": "30000"}, "NB_UID")],
)
def test_a_missing_claim_is_refused_with_the_lines_to_write(env, missing):
    with pytest.raises(Refusal) as caught:
        accounts.check_claim(env, ERIN, "FNAL")
    assert f"env lacks {missing}, which FNAL users must pass" in str(caught.value)
    assert 'env = {"NB_UID": os.environ["NB_UID"], "NB_GID": os.environ["NB_GID"], ...}' in str(caught.value)


@pytest.mark.weakness(3)
@pytest.mark.parametrize(
    ("name", "value"),
    [("NB_UID", "0"), ("NB_UID", "20001"), ("NB_UID", " 30002"), ("NB_UID", 30002), ("NB_GID", "0"), ("NB_GID", "")],
)
def test_a_claim_must_be_the_account(name, value):
    accounts.check_claim(ENV, ERIN, "CERN")
    with pytest.raises(Refusal, match=rf"env\['{name}'\] is not 3000\d, which your account has"):
        accounts.check_claim({**ENV, name: value}, ERIN, "CERN")
