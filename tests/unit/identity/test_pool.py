"""Test which accounts of JupyterHub's auth state an external user gets, and that hostile states give no other."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refusal
from gateway.identity import accounts, pool
from gateway.identity.accounts import Account, AccountUnknown
from gateway.site import AccountSource, Hub, Pool
from tests.unit.hostile import many
from tests.unit.identity.samples import ENV, ERIN

POOL = Pool(account_pattern="paf[0-9]{4}")
HUB = Hub(api_url="http://hub/hub/api", public_url="http://hub/hub", service_name="dask-gateway")
STATED = Account("erin-fnal", 30002, 30000, (31001,))
EXTERNAL = (AccountSource.HUB, AccountSource.POOL)

pytestmark = pytest.mark.finding("R8")


def test_a_user_of_the_pool_has_the_account_of_the_directory():
    assert pool.lent(STATED, ERIN, AccountSource.POOL, POOL) == ERIN


def test_a_user_of_the_hub_has_the_account_of_the_hub():
    for entry in (None, ERIN):
        assert pool.lent(STATED, entry, AccountSource.HUB, POOL) == STATED


@pytest.mark.parametrize("source", EXTERNAL)
@pytest.mark.parametrize("name", ["alice", "paf1002x", "xpaf1002", "paf1002\n", "PAF1002", "paf\uff11002"])
def test_the_uid_of_another_account_is_refused(source, name):
    with pytest.raises(AccountUnknown, match="uid 30002, which is not that of a pool account"):
        pool.lent(STATED, dataclasses.replace(ERIN, name=name), source, POOL)


def test_without_a_pool_no_uid_of_the_directory_is_lent():
    with pytest.raises(AccountUnknown, match="not that of a pool account"):
        pool.lent(STATED, ERIN, AccountSource.HUB, None)


def test_a_pool_account_that_the_directory_lacks_is_refused():
    with pytest.raises(AccountUnknown, match="uid 30002, which the directory lacks"):
        pool.lent(STATED, None, AccountSource.POOL, POOL)


@pytest.mark.parametrize("other", [{"gid": 30009}, {"uid": 30009}])
def test_a_pool_account_with_other_numbers_is_refused(other):
    with pytest.raises(AccountUnknown, match="with the gid 30000, and the directory has other numbers"):
        pool.lent(STATED, dataclasses.replace(ERIN, **other), AccountSource.POOL, POOL)


numbers = st.one_of(
    st.sampled_from([0, -1, 1, 30002, 30000, 2**31, 2**32 - 1, 2**32, 2**64, True, None, "30002", 30002.0, [30002]]),
    st.integers(),
    st.text(max_size=4),
)
states = st.one_of(
    st.none(),
    st.dictionaries(st.sampled_from(["uid", "gid", "groups", "UID", "name"]), numbers, max_size=4),
    st.fixed_dictionaries({"uid": numbers, "gid": numbers}, optional={"groups": st.lists(numbers, max_size=4)}),
)
entries = st.one_of(
    st.none(),
    st.builds(
        Account, st.sampled_from(["paf1002", "alice", "root"]), st.just(30002), st.sampled_from([0, 30000]), st.just(())
    ),
)


@many
@given(states, entries, st.sampled_from(EXTERNAL))
def test_a_hostile_auth_state_gives_no_other_account(testbed_site, state, entry, source):
    try:
        stated = accounts.account_from_auth_state("erin-fnal", state, HUB)
        account = pool.lent(accounts.checked(stated, testbed_site.identity), entry, source, POOL)
    except Refusal:
        return
    assert (account.uid, account.gid) == (state["uid"], state["gid"])
    assert 1000 <= account.uid < 2**32 - 1
    assert 1000 <= account.gid < 2**32 - 1
    assert all(type(number) is int and 1000 <= number < 2**32 - 1 for number in account.groups)
    assert source is AccountSource.HUB or entry is not None
    assert entry is None or entry.name == "paf1002"


@pytest.mark.weakness(33)
@pytest.mark.parametrize("wrong", [{"NB_UID": "f3b1c0ffee"}, {"NB_GID": "f3b1c0ffee"}, {"NB_GID": "20000"}])
def test_no_refusal_of_a_claim_holds_a_value(wrong):
    env = {**ENV, **wrong}
    with pytest.raises(Refusal) as caught:
        accounts.check_claim(env, ERIN, "CERN")
    assert not [value for value in (*wrong.values(), ENV["SECRET"]) if value in str(caught.value)]
