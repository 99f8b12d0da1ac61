"""Who a user is: the class by the exact suffix of the JupyterHub name, the account by what the site trusts. Pure.

Nothing here believes the client: names come from JupyterHub, numbers from the directory or JupyterHub's auth state.
What a client claims is only ever compared with those.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway import site
from gateway.errors import Refusal

USER_NAME = re.compile(r"[a-z][a-z0-9._-]{0,62}")
"""JupyterHub names that may become part of labels, paths and filters."""
IDENTITY_VARIABLES = ("NB_UID", "NB_GID")
"""What external users must pass in ``env`` (user guide, section 2)."""
POSIX_ID = re.compile(r"[1-9][0-9]{0,9}")
MOST_POSIX_ID = 2**32 - 2
"""The number above means "unchanged" to the kernel (chown(2))."""


@dataclass(frozen=True)
class Account:
    """A POSIX account."""

    name: str
    uid: int
    gid: int
    """Primary group."""
    groups: tuple[int, ...]
    """Supplementary groups, sorted, without the primary one."""


class AccountUnknown(Refusal):
    """Nobody knows an account for this user."""


def classify(name: str, classes: Iterable[site.UserClass]) -> site.UserClass:
    """The class of a JupyterHub name: that of the longest listed suffix which it ends with, the empty one at last.

    Raises :class:`Refusal` for a name that is no user name or that no class fits.
    """
    if not USER_NAME.fullmatch(name):
        raise Refusal(f"{name!r} is no user name of this facility.")
    fitting = [user_class for user_class in classes if name.endswith(user_class.suffix) and name != user_class.suffix]
    if not fitting:
        raise Refusal(f"The user name {name!r} belongs to no class of users that this facility knows.")
    return max(fitting, key=lambda user_class: len(user_class.suffix))


def checked(account: Account, identity: site.Identity) -> Account:
    """The account, if it is no system account, without groups that are the system's. Raises :class:`Refusal`.

    SSSD does the same to groups below its ``min_id``, so that both back ends give a user the same ones.
    """
    for kind, number, minimum in (
        ("uid", account.uid, identity.minimum_uid),
        ("gid", account.gid, identity.minimum_gid),
    ):
        if number < max(minimum, 1) or number > MOST_POSIX_ID:
            raise Refusal(f"The account {account.name!r} has the {kind} {number}, which is a system account's.")
    groups = tuple(gid for gid in account.groups if max(identity.minimum_gid, 1) <= gid <= MOST_POSIX_ID)
    return dataclasses.replace(account, groups=groups)


def account_from_auth_state(name: str, auth_state: Mapping[str, Any] | None, hub: site.Hub) -> Account:
    """The account that JupyterHub keeps for an external user. Raises :class:`AccountUnknown`."""
    state = auth_state or {}
    uid, gid, groups = state.get(hub.uid_key), state.get(hub.gid_key), state.get(hub.groups_key) or []
    if not isinstance(groups, list) or any(type(number) is not int for number in (uid, gid, *groups)):
        raise AccountUnknown(f"JupyterHub keeps no account for {name!r}; log in to the Analysis Facility again.")
    assert isinstance(uid, int)
    assert isinstance(gid, int)
    return Account(name, uid, gid, tuple(sorted(set(groups) - {gid})))


def account_from_entries(
    name: str, people: Iterable[Mapping[str, Any]], groups: Iterable[Mapping[str, Any]]
) -> Account:
    """The account in what an LDAP search gave. Raises :class:`AccountUnknown` unless exactly one entry fits.

    LDAP compares ``uid`` without regard to case and answers with all values of it, so the name is compared again.
    """
    exact = [entry for entry in people if name in values(entry["uid"])]
    if len(exact) != 1:
        found = "no account" if not exact else f"{len(exact)} accounts"
        raise AccountUnknown(f"The directory has {found} named {name!r}.")
    uid, gid = number(exact[0]["uidNumber"]), number(exact[0]["gidNumber"])
    supplementary = sorted({number(group["gidNumber"]) for group in groups} - {gid})
    return Account(name, uid, gid, tuple(supplementary))


def pool_name(uid: int, people: Iterable[Mapping[str, Any]], pool: site.Pool) -> str:
    """The name of the pool account in what an LDAP search for a uid gave.

    Raises :class:`AccountUnknown` unless exactly one entry has that uid, and it is lent to who names it.
    """
    names = [values(entry["uid"]) for entry in people]
    if len(names) != 1 or len(names[0]) != 1 or not pool.lends_by_claim(names[0][0]):
        raise AccountUnknown(f"No account of the facility's pool has the uid {uid}; pass NB_UID of your session.")
    return names[0][0]


def values(value: Any) -> list[str]:
    """The values of an LDAP attribute, however the library gives them."""
    found = value if isinstance(value, list) else [value]
    return [item.decode() if isinstance(item, bytes) else str(item) for item in found]


def number(value: Any) -> int:
    """The only value of a numeric LDAP attribute. Raises :class:`AccountUnknown` for another."""
    found = values(value)
    if len(found) != 1 or not re.fullmatch(r"[0-9]{1,10}", found[0]):
        raise AccountUnknown("The directory's entry for the account has no number where one is needed.")
    return int(found[0])


def claimed_numbers(env: Mapping[str, object], label: str) -> tuple[int, int]:
    """NB_UID and NB_GID of ``env``. Raises :class:`Refusal` where they are missing or no uid and gid."""
    _refuse_missing(env, label)
    uid, gid = (_claimed(env, name) for name in IDENTITY_VARIABLES)
    return uid, gid


def _claimed(env: Mapping[str, object], name: str) -> int:
    value = env[name]
    if not isinstance(value, str) or not POSIX_ID.fullmatch(value) or int(value) > MOST_POSIX_ID:
        raise Refusal(f"env[{name!r}] is not the number of your account; pass os.environ[{name!r}].")
    return int(value)


def check_claim(env: Mapping[str, object], account: Account, label: str) -> None:
    """Refuse an ``env`` whose NB_UID and NB_GID are not those of the account (user guide, section 2)."""
    _refuse_missing(env, label)
    for name, wanted in zip(IDENTITY_VARIABLES, (account.uid, account.gid), strict=True):
        if env[name] != str(wanted):
            raise Refusal(f"env[{name!r}] is not {wanted}, which your account has; pass os.environ[{name!r}].")


def _refuse_missing(env: Mapping[str, object], label: str) -> None:
    missing = [name for name in IDENTITY_VARIABLES if name not in env]
    if missing:
        lines = ", ".join(f'"{name}": os.environ["{name}"]' for name in IDENTITY_VARIABLES)
        names = " and ".join(missing)
        raise Refusal(
            f"env lacks {names}, which {label} users must pass: env = dict(os.environ), or env = {{{lines}, ...}}."
        )
