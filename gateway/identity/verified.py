"""Look up the account of a user whom another process of the gateway names, and take none of its word for it.

The API server knows a user by the user's token. The controller, which never sees that token, asks the directory itself.
Both find a user's own account by :func:`own_account`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway import site
from gateway.errors import Refusal
from gateway.identity import accounts
from gateway.identity.accounts import Account
from gateway.identity.directory import Directory


@dataclass(frozen=True)
class Named:
    """The numbers of an account that the hub or the user has named to the API server."""

    uid: int
    gid: int


async def account_of(
    username: str, user_class: site.UserClass, named: Named | None, identity: site.Identity, directory: Directory
) -> Account:
    """Return the account of a user, as the directory has it.

    A user of the directory has the account under the user's own name, and no process names another. All other users
    have an account that the site lends (``pool.account_pattern``): uid and gid come from the caller, and name, gid and
    groups from the directory. Raises :class:`Refusal` for any other account.
    """
    if user_class.account is site.AccountSource.DIRECTORY:
        if named is not None:
            raise Refusal(
                f"The account of {username!r} is the one that the directory has under this name, and a uid was named."
            )
        account = await own_account(username, identity, directory)
    else:
        account = await _lent_account(username, named, identity, directory)
    return accounts.checked(account, identity)


async def own_account(username: str, identity: site.Identity, directory: Directory) -> Account:
    """Return the account under a user's own name. Raises :class:`Refusal` for the name of an account that is lent."""
    if identity.pool is not None and identity.pool.has(username):
        raise Refusal(f"{username!r} is the name of a pool account, not of a user: log in under your own user name.")
    return await directory.account(username)


async def _lent_account(username: str, named: Named | None, identity: site.Identity, directory: Directory) -> Account:
    if named is None:
        raise Refusal(f"No account was named for {username!r}: log in to the Analysis Facility again.")
    account = await directory.account_of_uid(named.uid)
    if account is None or identity.pool is None or not identity.pool.has(account.name):
        raise Refusal(
            f"The uid {named.uid} is not that of an account that the site lends to {username!r}:"
            " ask the administrators."
        )
    if account.gid != named.gid:
        raise Refusal(f"The gid {named.gid} is not the group of {username!r}'s account: ask the administrators.")
    return account


def described(account: Account, user_class: site.UserClass) -> Mapping[str, int] | None:
    """Return the numbers by which the API server names an account, for :class:`Named`; None if it names none."""
    if user_class.account is site.AccountSource.DIRECTORY:
        return None
    return {"uid": account.uid, "gid": account.gid}
