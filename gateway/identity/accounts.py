"""Decide a user's class and account. Pure.

The exact suffix of the JupyterHub name gives the class. For each class, the site says whether the directory or
JupyterHub's auth state gives uid, gid and groups. The client's claims are compared with these, and are never a source.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway import site
from gateway.errors import Refusal

USER_NAME = re.compile(r"[a-z][a-z0-9._-]{0,62}")
"""JupyterHub names that are safe in labels, paths and LDAP filters."""
IDENTITY_VARIABLES = ("NB_UID", "NB_GID")
"""Variables that CERN and FNAL users must pass in ``env`` (user guide, section 2)."""
MOST_POSIX_ID = 2**32 - 2
"""The largest uid or gid. The next number, 2**32 - 1, means "unchanged" to the kernel (chown(2))."""


@dataclass(frozen=True)
class Account:
    """A POSIX account."""

    name: str
    uid: int
    gid: int
    """The primary group."""
    groups: tuple[int, ...]
    """The supplementary groups, sorted, without the primary one."""


class AccountUnknown(Refusal):
    """Refuse a user for whom the directory or JupyterHub has no account."""


def classify(name: str, classes: Iterable[site.UserClass]) -> site.UserClass:
    """Return the class of a JupyterHub name. The longest matching suffix wins; the empty suffix is the fallback.

    Raises :class:`Refusal` when the name is not a user name, or when no class has a matching suffix.
    """
    if not USER_NAME.fullmatch(name):
        raise Refusal(f"{name!r} is not a user name of this facility: use the token of your own JupyterHub session.")
    fitting = [user_class for user_class in classes if name.endswith(user_class.suffix) and name != user_class.suffix]
    if not fitting:
        raise Refusal(
            f"The user name {name!r} does not belong to a user class of this facility: ask the administrators."
        )
    return max(fitting, key=lambda user_class: len(user_class.suffix))


def checked(account: Account, identity: site.Identity) -> Account:
    """Return the account without its system groups. Raises :class:`Refusal` for a system account.

    SSSD drops groups below its ``min_id`` in the same way, so both back ends give a user the same groups.
    """
    for kind, number, minimum in (
        ("uid", account.uid, identity.minimum_uid),
        ("gid", account.gid, identity.minimum_gid),
    ):
        if number < max(minimum, 1) or number > MOST_POSIX_ID:
            raise Refusal(
                f"The account {account.name!r} has the {kind} {number} of a system account: ask the administrators."
            )
    groups = tuple(gid for gid in account.groups if max(identity.minimum_gid, 1) <= gid <= MOST_POSIX_ID)
    return dataclasses.replace(account, groups=groups)


def account_from_auth_state(name: str, auth_state: Mapping[str, Any] | None, hub: site.Hub) -> Account:
    """Return the account in JupyterHub's auth state of an external user.

    Raises :class:`AccountUnknown` when the auth state lacks uid, gid or groups, or has them in another form.
    """
    state = auth_state or {}
    uid, gid, groups = state.get(hub.uid_key), state.get(hub.gid_key), state.get(hub.groups_key) or []
    if not isinstance(groups, list) or any(type(number) is not int for number in (uid, gid, *groups)):
        raise AccountUnknown(f"JupyterHub stores no account for {name!r}: log in to the Analysis Facility again.")
    assert isinstance(uid, int)
    assert isinstance(gid, int)
    return Account(name, uid, gid, tuple(sorted(set(groups) - {gid})))


def account_from_entries(
    name: str, people: Iterable[Mapping[str, Any]], groups: Iterable[Mapping[str, Any]]
) -> Account:
    """Return the account in the entries that an LDAP search found.

    LDAP compares ``uid`` case-insensitively and returns all its values, so this function compares the name again.
    Raises :class:`AccountUnknown` unless exactly one entry has the exact name.
    """
    exact = [entry for entry in people if name in values(entry["uid"])]
    if len(exact) != 1:
        found = "no account" if not exact else f"{len(exact)} accounts"
        raise AccountUnknown(f"The directory has {found} named {name!r}: ask the administrators.")
    uid, gid = number(exact[0]["uidNumber"]), number(exact[0]["gidNumber"])
    supplementary = sorted({number(group["gidNumber"]) for group in groups} - {gid})
    return Account(name, uid, gid, tuple(supplementary))


def name_of_uid(uid: int, people: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the name in the entries that an LDAP search for a uid found; None without an entry.

    Raises :class:`AccountUnknown` when the uid belongs to several names.
    """
    names = [name for entry in people for name in values(entry["uid"])]
    if len(names) > 1:
        raise AccountUnknown(f"The directory has {len(names)} names for the uid {uid}: ask the administrators.")
    return names[0] if names else None


def values(value: Any) -> list[str]:
    """Return the values of an LDAP attribute as a list of text; ldap3 gives one or several, as text or bytes."""
    found = value if isinstance(value, list) else [value]
    return [item.decode() if isinstance(item, bytes) else str(item) for item in found]


def number(value: Any) -> int:
    """Return the value of a numeric LDAP attribute. Raises :class:`AccountUnknown` unless it is one decimal number."""
    found = values(value)
    if len(found) != 1 or not re.fullmatch(r"[0-9]{1,10}", found[0]):
        raise AccountUnknown("The directory gives your account an invalid uid or gid: ask the administrators.")
    return int(found[0])


def check_claim(env: Mapping[str, object], account: Account, label: str) -> None:
    """Check that NB_UID and NB_GID of ``env`` equal the account's numbers (user guide, section 2).

    Raises :class:`Refusal` when one is missing or differs.
    """
    missing = [name for name in IDENTITY_VARIABLES if name not in env]
    if missing:
        lines = ", ".join(f'"{name}": os.environ["{name}"]' for name in IDENTITY_VARIABLES)
        names = " and ".join(missing)
        raise Refusal(
            f"env lacks {names}, which {label} users must pass: env = dict(os.environ), or env = {{{lines}, ...}}."
        )
    for name, wanted in zip(IDENTITY_VARIABLES, (account.uid, account.gid), strict=True):
        if env[name] != str(wanted):
            raise Refusal(f"env[{name!r}] is not {wanted}, which your account has: pass os.environ[{name!r}].")
