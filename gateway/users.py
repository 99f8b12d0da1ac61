"""Who a user is: the class by the exact suffix of the JupyterHub name, the account from the directory or the hub.

Nothing here believes the client: names come from JupyterHub, numbers from the directory or JupyterHub's auth state.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import ldap3
from ldap3.core.exceptions import LDAPException
from ldap3.utils.conv import escape_filter_chars

from gateway import site
from gateway.errors import Refusal

USER_NAME = re.compile(r"[a-z][a-z0-9._-]{0,62}")
"""JupyterHub names that may become part of labels, paths and filters."""


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


class DirectoryUnavailable(Refusal):
    """The directory can't be asked now."""


class Directory(Protocol):
    """Something that knows accounts by name."""

    async def account(self, name: str) -> Account:
        """The account of exactly that name. Raises :class:`AccountUnknown` or :class:`DirectoryUnavailable`."""


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
    """The account itself, if it is no system account. Raises :class:`Refusal`."""
    for kind, number, minimum in (
        ("uid", account.uid, identity.minimum_uid),
        ("gid", account.gid, identity.minimum_gid),
    ):
        if number < max(minimum, 1):
            raise Refusal(f"The account {account.name!r} has the {kind} {number}, which is a system account's.")
    return account


def account_from_auth_state(name: str, auth_state: Mapping[str, Any] | None, hub: site.Hub) -> Account:
    """The account that JupyterHub keeps for an external user. Raises :class:`AccountUnknown`."""
    state = auth_state or {}
    uid, gid = state.get(hub.uid_key), state.get(hub.gid_key)
    if type(uid) is not int or type(gid) is not int:
        raise AccountUnknown(f"JupyterHub keeps no account for {name!r}; log in to the Analysis Facility again.")
    return Account(name, uid, gid, ())


class LdapDirectory:
    """The site's LDAP directory (RFC 2307), asked over verified TLS in a thread of its own."""

    def __init__(self, settings: site.Directory) -> None:
        self.settings = settings
        tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=settings.ca_file)
        self._server = ldap3.Server(
            settings.url, tls=tls, connect_timeout=settings.timeout_seconds, get_info=ldap3.NONE
        )

    async def account(self, name: str) -> Account:
        """The account of exactly that name. Raises :class:`AccountUnknown` or :class:`DirectoryUnavailable`."""
        try:
            return await asyncio.to_thread(self._account, name)
        except LDAPException as error:
            raise DirectoryUnavailable(
                f"The account of {name!r} can't be looked up now ({type(error).__name__}); try again in a minute."
            ) from error

    def _account(self, name: str) -> Account:
        escaped = escape_filter_chars(name)
        with ldap3.Connection(
            self._server, auto_bind=True, read_only=True, receive_timeout=self.settings.timeout_seconds
        ) as connection:
            people = self._search(
                connection,
                self.settings.people_base,
                f"(&(objectClass=posixAccount)(uid={escaped}))",
                ["uid", "uidNumber", "gidNumber"],
            )
            groups = self._search(
                connection,
                self.settings.groups_base,
                f"(&(objectClass=posixGroup)(memberUid={escaped}))",
                ["gidNumber"],
            )
        return account_from_entries(name, people, groups)

    @staticmethod
    def _search(connection: ldap3.Connection, base: str, query: str, attributes: list[str]) -> list[dict[str, Any]]:
        connection.search(base, query, attributes=attributes)
        return [dict(entry["attributes"]) for entry in connection.response if entry["type"] == "searchResEntry"]


def account_from_entries(
    name: str, people: Iterable[Mapping[str, Any]], groups: Iterable[Mapping[str, Any]]
) -> Account:
    """The account in what an LDAP search gave. Raises :class:`AccountUnknown` unless exactly one entry fits.

    LDAP compares ``uid`` without regard to case and answers with all values of it, so the name is compared again.
    """
    exact = [entry for entry in people if name in _values(entry["uid"])]
    if len(exact) != 1:
        found = "no account" if not exact else f"{len(exact)} accounts"
        raise AccountUnknown(f"The directory has {found} named {name!r}.")
    uid, gid = _number(exact[0]["uidNumber"]), _number(exact[0]["gidNumber"])
    supplementary = sorted({_number(group["gidNumber"]) for group in groups} - {gid})
    return Account(name, uid, gid, tuple(supplementary))


def _values(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [item.decode() if isinstance(item, bytes) else str(item) for item in values]


def _number(value: Any) -> int:
    (single,) = _values(value)
    return int(single)


class CachedDirectory:
    """A directory that remembers accounts for a while."""

    def __init__(self, directory: Directory, maximum_age_seconds: float, clock: Callable[[], float] = time.monotonic):
        self._directory, self._maximum_age, self._clock = directory, maximum_age_seconds, clock
        self._known: dict[str, tuple[float, Account]] = {}

    async def account(self, name: str) -> Account:
        """The account of that name, at most as old as the cache allows. Raises what the directory raises."""
        known = self._known.get(name)
        if known is not None and self._clock() - known[0] < self._maximum_age:
            return known[1]
        account = await self._directory.account(name)
        self._known[name] = (self._clock(), account)
        return account
