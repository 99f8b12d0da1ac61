"""Test which users may hold which pool accounts."""

import pytest

from gateway.errors import Refusal
from gateway.identity import accounts, pool
from gateway.identity.accounts import Account
from tests.unit.identity.samples import ENV, ERIN, RecordingDirectory


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
        await pool.claimed_account(env, "FNAL", testbed_site.identity, RecordingDirectory(account))


async def test_a_claimed_account_has_no_groups_of_the_system(testbed_site):
    recorder = RecordingDirectory(Account("paf1002", 30002, 30000, (4, 31001)))
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
    with pytest.raises(Refusal, match="You hold another account than the pool account with the uid 30002"):
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
