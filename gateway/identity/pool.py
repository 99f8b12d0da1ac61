"""Compare an account that JupyterHub names for an external user with the directory. Pure."""

from gateway.identity.accounts import Account, AccountUnknown
from gateway.site import AccountSource, Pool


def lent(stated: Account, entry: Account | None, source: AccountSource, pool: Pool | None) -> Account:
    """Return the account of an external user.

    ``stated`` is the account in JupyterHub's auth state, ``entry`` the directory's account with that uid. A user of the
    pool has exactly the pool account of the directory; a user of the hub has what the hub states.

    Raises :class:`AccountUnknown` when the uid is another user's in the directory. For a user of the pool, also when
    the directory lacks the uid or has other numbers for its name.
    """
    if entry is None:
        if source is AccountSource.POOL:
            raise AccountUnknown(_text(stated, "which the directory lacks"))
        return stated
    if pool is None or not pool.has(entry.name):
        raise AccountUnknown(_text(stated, "which is not that of a pool account"))
    if source is not AccountSource.POOL:
        return stated
    if (entry.uid, entry.gid) != (stated.uid, stated.gid):
        raise AccountUnknown(_text(stated, f"with the gid {stated.gid}, and the directory has other numbers"))
    return entry


def _text(stated: Account, fault: str) -> str:
    return f"JupyterHub gives {stated.name!r} the uid {stated.uid}, {fault}: ask the administrators."
