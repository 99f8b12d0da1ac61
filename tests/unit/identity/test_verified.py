"""Accounts that another process of the gateway names."""

import pytest

from gateway.errors import Refusal
from gateway.identity import accounts
from gateway.identity.accounts import Account, AccountUnknown
from gateway.identity.verified import Named, account_of, described

ALICE = Account("alice", 20001, 20000, (21001,))
LENT = Account("paf0001", 30001, 30000, (21001,))


class Directory:
    """A directory of a user, a lent account and a system account."""

    known = (ALICE, LENT, Account("paf0000", 10, 10, ()), Account("daemon", 2, 2, ()))

    async def account(self, name):
        return self._first(account for account in self.known if account.name == name)

    async def account_of_uid(self, uid):
        return next((account for account in self.known if account.uid == uid), None)

    def _first(self, found):
        account = next(found, None)
        if account is None:
            raise AccountUnknown("unknown")
        return account


async def asked(identity, username, named):
    user_class = accounts.classify(username, identity.classes)
    return await account_of(username, user_class, named, identity, Directory())


@pytest.mark.parametrize("username", ["dave-cern", "erin-fnal"])
async def test_a_lent_account_is_the_directorys(testbed_site, username):
    assert await asked(testbed_site.identity, username, Named(30001, 30000)) == LENT


async def test_a_users_own_account_is_the_directorys(testbed_site):
    assert await asked(testbed_site.identity, "alice", None) == ALICE


@pytest.mark.finding("R6")
@pytest.mark.parametrize(
    ("username", "named"),
    [
        ("mallory", None),
        ("mallory", Named(20001, 20000)),
        ("alice", Named(20001, 20000)),
        ("mallory-cern", Named(20001, 20000)),
        ("mallory-fnal", Named(20001, 20000)),
        ("dave-cern", None),
        ("dave-cern", Named(30001, 20000)),
        ("dave-cern", Named(30009, 30000)),
        ("dave-cern", Named(10, 10)),
        ("dave-cern", Named(2, 2)),
        ("daemon", None),
        ("paf0001", None),
    ],
)
async def test_no_other_account_is_given(testbed_site, username, named):
    with pytest.raises(Refusal):
        await asked(testbed_site.identity, username, named)


def test_only_a_lent_account_is_named(testbed_site):
    classes = {item.name: item for item in testbed_site.identity.classes}
    assert described(ALICE, classes["purdue"]) is None
    assert described(LENT, classes["cern"]) == {"uid": 30001, "gid": 30000}
