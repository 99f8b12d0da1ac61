"""Accounts on the submission host: those of the directory, and the gateway's own."""

import pytest

from testbed import people
from tests.ansible.hosts import site

pytestmark = pytest.mark.e2e


def test_directory_accounts_are_known(host) -> None:
    directory = people.load()
    for account in directory.accounts:
        user = host.user(account.name)
        assert (user.uid, user.gid) == (account.uid, directory.gid(account.group))
        assert set(user.groups) == {account.group, *account.supplementary_groups}


def test_directory_groups_are_known(host) -> None:
    for group in people.load().groups:
        assert host.group(group.name).gid == group.gid


def test_directory_accounts_are_no_local_accounts(host) -> None:
    names = {account.name for account in people.load().accounts}
    assert names.isdisjoint(host.user().get_local_users)


def test_the_gateways_account_is_a_system_account_without_a_shell(host) -> None:
    slurm = site().slurm
    user = host.user(slurm.system_user)
    assert user.uid < site().identity.minimum_uid
    assert user.groups == [slurm.system_user]
    assert user.shell == "/usr/sbin/nologin"
    assert user.home == slurm.state_directory
