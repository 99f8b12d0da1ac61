"""Lend pool accounts: the first user who names an account holds it, and a user holds one account.

The back end stores the holders as a mapping from the account's uid to the JupyterHub name.
"""

from collections.abc import Mapping
from typing import Protocol

from gateway.errors import Refusal
from gateway.identity import accounts
from gateway.identity.accounts import Account
from gateway.identity.directory import Directory
from gateway.site import Identity


class Holders(Protocol):
    """A store of the holders of pool accounts, which survives restarts and which all replicas of the gateway share."""

    async def hold(self, uid: int, username: str) -> None:
        """Give the account to the user. Raises :class:`Refusal` when :func:`is_new` refuses it."""


async def claimed_account(env: Mapping[str, object], label: str, identity: Identity, directory: Directory) -> Account:
    """Return the pool account that ``env`` names. The caller then asks :class:`Holders` to give it to the user.

    Raises :class:`Refusal` when NB_UID and NB_GID are missing, or are not the numbers of one pool account.
    """
    uid, gid = accounts.claimed_numbers(env, label)
    account = accounts.checked(await directory.pool_account(uid), identity)
    if account.gid != gid:
        raise Refusal("env['NB_GID'] is not the group of that account: pass os.environ['NB_GID'].")
    return account


def is_new(uid: int, username: str, holders: Mapping[int, str]) -> bool:
    """Return whether the back end has yet to store the user as holder of the account; ``holders`` maps uid to user.

    Raises :class:`Refusal` when another user holds the account, or when the user holds another account.
    """
    holder = holders.get(uid)
    if holder == username:
        return False
    if holder is not None:
        raise Refusal(f"The account with the uid {uid} is held by another user: pass NB_UID of your session.")
    if username in holders.values():
        raise Refusal(
            f"You hold another account than the pool account with the uid {uid}: pass NB_UID of your session,"
            " or ask the administrators if your session has another account now."
        )
    return True
