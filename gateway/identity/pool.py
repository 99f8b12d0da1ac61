"""Accounts of the pool: who names one first keeps it, and everybody has one.

Which accounts are held is a mapping from the account's uid to the JupyterHub name, kept by the back end.
"""

from collections.abc import Mapping
from typing import Protocol

from gateway.errors import Refusal
from gateway.identity import accounts
from gateway.identity.accounts import Account
from gateway.identity.directory import Directory
from gateway.site import Identity


class Holders(Protocol):
    """Remembers who holds which account: over restarts, and for all replicas of the gateway."""

    async def hold(self, uid: int, username: str) -> None:
        """Give the account to the user, unless :func:`is_new` refuses that. Raises :class:`Refusal`."""


async def claimed_account(env: Mapping[str, object], label: str, identity: Identity, directory: Directory) -> Account:
    """The account of the pool that ``env`` names; whether it is the user's is for :class:`Holders` to say.

    Raises :class:`Refusal`.
    """
    uid, gid = accounts.claimed_numbers(env, label)
    account = accounts.checked(await directory.pool_account(uid), identity)
    if account.gid != gid:
        raise Refusal("env['NB_GID'] is not the group of that account; pass os.environ['NB_GID'].")
    return account


def is_new(uid: int, username: str, holders: Mapping[int, str]) -> bool:
    """Whether the account is still to be noted as the user's, given who holds which uid.

    Raises :class:`Refusal` for an account that somebody else holds, and for a second one of the same user.
    """
    holder = holders.get(uid)
    if holder == username:
        return False
    if holder is not None:
        raise Refusal(f"The account with the uid {uid} is held by another user; pass NB_UID of your session.")
    if username in holders.values():
        raise Refusal(
            f"You hold another account of the pool than the one with the uid {uid}; pass NB_UID of your session,"
            " or ask the administrators if your session has got another account."
        )
    return True
