"""The accounts of a call: the server's, which may call, and the user's, which the launcher becomes."""

import grp
import os
import pwd
from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.slurm.launcher.requests import Limits, RequestError


class Account(NamedTuple):
    """A user's account, as this machine knows it."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    """Ids of all its groups."""


def check_peer(limits: Limits, uid: int) -> None:
    """Check that the peer is the server. Raises :class:`RequestError` or ``KeyError``."""
    if uid != pwd.getpwnam(limits.server_account).pw_uid:
        raise RequestError(f"the account with uid {uid} may not call the launcher")


def checked(limits: Limits, request: Mapping[str, Any]) -> Account:
    """Return the account that a request names.

    Raises :class:`RequestError` for an account that is unknown, a system account or outside the site's groups, and for
    one whose uid or gid differs from the request's.
    """
    name = request.get("username")
    if not isinstance(name, str):
        raise RequestError("the request names no account")
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise RequestError(f"this machine knows no account {name!r}") from None
    uid, gid = entry.pw_uid, entry.pw_gid
    if uid < max(limits.minimum_uid, 1) or gid < max(limits.minimum_gid, 1):
        raise RequestError(f"uid {uid} and gid {gid} are a system account's")
    if (uid, gid) != (request.get("uid"), request.get("gid")):
        raise RequestError(
            f"this machine gives the account the uid {uid} and the gid {gid}, the directory gives it"
            f" {request.get('uid')} and {request.get('gid')}"
        )
    groups = tuple(os.getgrouplist(entry.pw_name, gid))
    if not set(groups) & _site_groups(limits):
        raise RequestError(f"the account {name!r} is in none of the groups {', '.join(limits.user_groups)}")
    # A system group would give more rights on this machine than a job of the user has.
    kept = tuple(group for group in groups if group >= max(limits.minimum_gid, 1))
    return Account(entry.pw_name, uid, gid, kept)


def _site_groups(limits: Limits) -> set[int]:
    found = set()
    for name in limits.user_groups:
        try:
            found.add(grp.getgrnam(name).gr_gid)
        except KeyError:
            continue
    return found


def become(account: Account) -> None:
    """Make this process an account's, for good. Raises ``OSError``."""
    os.setgroups(account.groups)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    if os.getresuid() != (account.uid,) * 3 or os.getresgid() != (account.gid,) * 3:
        raise RequestError(f"the launcher did not become {account.name!r}")
