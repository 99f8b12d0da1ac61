"""Accounts: what the directory and JupyterHub tell, how long it counts, and who gets an account of the pool."""

import pytest

from gateway.errors import Refusal
from gateway.identity import accounts, pool
from gateway.identity.accounts import Account, AccountUnknown
from gateway.identity.directory import CachedDirectory, DirectoryUnavailable
from gateway.site import Hub, Pool

ENV = {"NB_UID": "30002", "NB_GID": "30000", "SECRET": "f3b1c0ffee"}
ERIN = Account("paf1002", 30002, 30000, ())


class Recorder:
    """A directory that counts, or does not answer."""

    def __init__(self, pool_account=ERIN):
        self.asked, self.up, self._pool_account = [], True, pool_account

    async def account(self, name):
        return self._answer(name)

    async def pool_account(self, uid):
        self._answer(uid)
        return self._pool_account

    def _answer(self, key):
        self.asked.append(key)
        if not self.up:
            raise DirectoryUnavailable("no answer")
        return Account(str(key), 20000 + len(self.asked), 20000, ())


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def now():
    """The time, to be changed."""
    return [0.0]


@pytest.fixture
def remembered(recorder, testbed_site, now):
    settings = testbed_site.identity.directory.model_copy(update={"cache_seconds": 60, "outage_seconds": 3600})
    return CachedDirectory(recorder, settings, clock=lambda: now[0])


@pytest.mark.weakness(6)
async def test_accounts_are_remembered_for_a_bounded_time(remembered, recorder, now):
    first = await remembered.account("alice")
    now[0] = 59.9
    assert await remembered.account("alice") is first
    now[0] = 60.0
    assert await remembered.account("alice") != first
    assert recorder.asked == ["alice", "alice"]


@pytest.mark.weakness(6)
async def test_older_accounts_count_for_a_bounded_time_while_the_directory_is_down(remembered, recorder, now):
    first = await remembered.account("alice")
    recorder.up = False
    now[0] = 3599.9
    assert await remembered.account("alice") is first
    now[0] = 3600.0
    with pytest.raises(DirectoryUnavailable):
        await remembered.account("alice")


async def test_an_outage_makes_no_account_younger(remembered, recorder, now):
    await remembered.account("alice")
    recorder.up = False
    for now[0] in (100.0, 3000.0):
        await remembered.account("alice")
    now[0] = 3600.0
    with pytest.raises(DirectoryUnavailable):
        await remembered.account("alice")


async def test_others_are_told_that_the_directory_is_down(remembered, recorder):
    await remembered.account("alice")
    recorder.up = False
    with pytest.raises(DirectoryUnavailable):
        await remembered.account("bob")


async def test_who_is_unknown_is_asked_for_again(remembered, recorder, monkeypatch):
    async def unknown(name):
        recorder.asked.append(name)
        raise AccountUnknown("nobody")

    await remembered.account("alice")
    monkeypatch.setattr(recorder, "account", unknown)
    remembered._known.clear()
    for _ in range(2):
        with pytest.raises(AccountUnknown):
            await remembered.account("alice")
    assert recorder.asked == ["alice"] * 3


async def test_accounts_of_the_pool_are_remembered_apart_from_names(remembered, recorder):
    for _ in range(2):
        assert await remembered.pool_account(30002) == ERIN
    await remembered.account("30002")
    assert recorder.asked == [30002, "30002"]


async def test_the_memory_forgets_who_stays_away(remembered, now):
    for number in range(100):
        await remembered.account(f"user{number}")
    now[0] = 3600.0
    await remembered.account("alice")
    assert list(remembered._known) == ["alice"]


HUB = Hub(api_url="http://hub/hub/api", service_name="dask-gateway", groups_key="gids")


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


POOL = Pool(account_pattern="paf[0-9]{4}", claimed_pattern="paf1[0-9]{3}")


def entry(*names):
    return {"uid": list(names), "uidNumber": 30002, "gidNumber": 30000}


@pytest.mark.weakness(14)
def test_the_pools_account_is_the_one_entry_with_that_uid():
    assert accounts.pool_name(30002, [entry("paf1002")], POOL) == "paf1002"


@pytest.mark.weakness(14)
@pytest.mark.parametrize(
    "people",
    [
        [],
        [entry("paf1002"), entry("paf1003")],
        [entry("paf1002", "alias")],
        [entry("alice")],
        [entry("paf0001")],
        [entry("paf1002x")],
        [entry("xpaf1002")],
        [entry("paf1002\n")],
    ],
    ids=["none", "two entries", "two names", "a person's", "the hub's", "suffix", "prefix", "line end"],
)
def test_other_accounts_are_not_lent(people):
    with pytest.raises(AccountUnknown, match="The uid 30002 is not that of a pool account"):
        accounts.pool_name(30002, people, POOL)


@pytest.mark.weakness(3)
@pytest.mark.parametrize("name", ["NB_UID", "NB_GID"])
@pytest.mark.parametrize(
    "value",
    ["0", "-1", "4294967295", "4294967296", " 0", "1 ", "0x1", "1e3", "+1", "01", "", "\uff11", "1\n", 1, None, True],
)
def test_claims_that_are_no_account_are_refused(name, value):
    with pytest.raises(Refusal, match=rf"env\['{name}'\] is not the number of your account"):
        accounts.claimed_numbers({**ENV, name: value}, "FNAL")


def test_a_claim_is_two_numbers():
    assert accounts.claimed_numbers(ENV, "FNAL") == (30002, 30000)
    assert accounts.claimed_numbers({"NB_UID": "1", "NB_GID": "4294967294"}, "FNAL") == (1, 4294967294)


@pytest.mark.parametrize(
    ("env", "missing"),
    [({}, "NB_UID and NB_GID"), ({"NB_UID": "30002"}, "NB_GID"), ({"NB_GID": "30000"}, "NB_UID")],
)
@pytest.mark.parametrize("check", [accounts.claimed_numbers, lambda env, label: accounts.check_claim(env, ERIN, label)])
def test_a_missing_claim_is_refused_with_the_lines_to_write(check, env, missing):
    with pytest.raises(Refusal) as caught:
        check(env, "FNAL")
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


@pytest.mark.weakness(3, 14)
async def test_a_claimed_account_has_the_claimed_group(recorder, testbed_site):
    assert await pool.claimed_account(ENV, "FNAL", testbed_site.identity, recorder) == ERIN
    with pytest.raises(Refusal, match=r"env\['NB_GID'\] is not the group of that account"):
        await pool.claimed_account({**ENV, "NB_GID": "20000"}, "FNAL", testbed_site.identity, recorder)


@pytest.mark.weakness(3)
@pytest.mark.parametrize("account", [Account("paf1999", 0, 30000, ()), Account("paf1999", 30002, 4, ())])
async def test_a_claimed_account_is_none_of_the_systems(testbed_site, account):
    env = {"NB_UID": "30002", "NB_GID": "30000"}
    with pytest.raises(Refusal, match="system account"):
        await pool.claimed_account(env, "FNAL", testbed_site.identity, Recorder(account))


async def test_a_claimed_account_has_no_groups_of_the_system(testbed_site):
    recorder = Recorder(Account("paf1002", 30002, 30000, (4, 31001)))
    account = await pool.claimed_account(ENV, "FNAL", testbed_site.identity, recorder)
    assert account.groups == (31001,)


@pytest.mark.weakness(14)
def test_an_account_is_new_once():
    assert pool.is_new(30002, "erin-fnal", {30001: "dave-fnal"})
    assert not pool.is_new(30002, "erin-fnal", {30001: "dave-fnal", 30002: "erin-fnal"})


@pytest.mark.weakness(14)
def test_an_account_of_somebody_else_is_refused():
    with pytest.raises(Refusal, match="uid 30002 is held by another user"):
        pool.is_new(30002, "erin-fnal", {30002: "frank-fnal"})


@pytest.mark.weakness(14)
def test_a_second_account_is_refused():
    with pytest.raises(Refusal, match="You hold another pool account than the one with the uid 30002"):
        pool.is_new(30002, "erin-fnal", {30003: "erin-fnal"})


def test_holding_another_does_not_give_somebody_elses():
    with pytest.raises(Refusal, match="held by another user"):
        pool.is_new(30002, "erin-fnal", {30002: "frank-fnal", 30003: "erin-fnal"})


@pytest.mark.weakness(33)
@pytest.mark.parametrize("wrong", [{"NB_UID": "f3b1c0ffee"}, {"NB_GID": "f3b1c0ffee"}, {"NB_GID": "20000"}])
async def test_no_refusal_holds_a_value(recorder, testbed_site, wrong):
    env = {**ENV, **wrong}
    with pytest.raises(Refusal) as caught:
        await pool.claimed_account(env, "FNAL", testbed_site.identity, recorder)
    said = [str(caught.value)]
    with pytest.raises(Refusal) as caught:
        accounts.check_claim(env, ERIN, "CERN")
    said.append(str(caught.value))
    assert not [text for text in said for value in (*wrong.values(), ENV["SECRET"]) if value in text]
