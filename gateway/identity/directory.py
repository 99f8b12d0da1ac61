"""The directory: accounts by LDAP, remembered for a while and a little longer while it does not answer."""

import asyncio
import functools
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import ldap3
from ldap3.core.exceptions import LDAPException
from ldap3.utils.conv import escape_filter_chars

from gateway import site
from gateway.errors import Refusal
from gateway.identity import accounts
from gateway.identity.accounts import Account

Attributes = dict[str, Any]
Key = TypeVar("Key", str, int)


class DirectoryUnavailable(Refusal):
    """The directory can't be asked now."""


class Directory(Protocol):
    """Something that knows accounts."""

    async def account(self, name: str) -> Account:
        """The account of exactly that name. Raises :class:`users.AccountUnknown`, :class:`DirectoryUnavailable`."""

    async def pool_account(self, uid: int) -> Account:
        """The account of the pool with that uid. Raises :class:`users.AccountUnknown`, :class:`DirectoryUnavailable`.

        Only where the site has a pool.
        """


class LdapDirectory:
    """The site's LDAP directory (RFC 2307), asked over verified TLS in a thread of its own."""

    def __init__(self, identity: site.Identity) -> None:
        self.settings, self.pool = identity.directory, identity.pool
        tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=self.settings.ca_file)
        self._server = ldap3.Server(
            self.settings.url, tls=tls, connect_timeout=self.settings.timeout_seconds, get_info=ldap3.NONE
        )

    async def account(self, name: str) -> Account:
        """See :meth:`Directory.account`."""
        return await self._asked(f"of {name!r}", functools.partial(self._account, name))

    async def pool_account(self, uid: int) -> Account:
        """See :meth:`Directory.pool_account`."""
        return await self._asked(f"with the uid {uid}", functools.partial(self._pool_account, uid))

    async def _asked(self, whose: str, question: Callable[[ldap3.Connection], Account]) -> Account:
        try:
            return await asyncio.to_thread(self._connected, question)
        except LDAPException as error:
            raise DirectoryUnavailable(
                f"The account {whose} can't be looked up now ({type(error).__name__}); try again in a minute."
            ) from error

    def _connected(self, question: Callable[[ldap3.Connection], Account]) -> Account:
        with ldap3.Connection(
            self._server,
            auto_bind=True,
            read_only=True,
            receive_timeout=self.settings.timeout_seconds,
            # Else an answer like "busy" would look like one without entries.
            raise_exceptions=True,
        ) as connection:
            return question(connection)

    def _account(self, name: str, connection: ldap3.Connection) -> Account:
        escaped = escape_filter_chars(name)
        people = self._people(connection, f"(uid={escaped})")
        groups = self._search(
            connection,
            self.settings.groups_base,
            f"(&(objectClass=posixGroup)(memberUid={escaped}))",
            ["gidNumber"],
        )
        return accounts.account_from_entries(name, people, groups)

    def _pool_account(self, uid: int, connection: ldap3.Connection) -> Account:
        assert self.pool is not None
        return self._account(
            accounts.pool_name(uid, self._people(connection, f"(uidNumber={uid:d})"), self.pool), connection
        )

    def _people(self, connection: ldap3.Connection, condition: str) -> list[Attributes]:
        query = f"(&(objectClass=posixAccount){condition})"
        return self._search(connection, self.settings.people_base, query, ["uid", "uidNumber", "gidNumber"])

    @staticmethod
    def _search(connection: ldap3.Connection, base: str, query: str, attributes: list[str]) -> list[Attributes]:
        connection.search(base, query, attributes=attributes)
        return [dict(entry["attributes"]) for entry in connection.response if entry["type"] == "searchResEntry"]


class CachedDirectory:
    """A directory that remembers accounts for a while, and falls back on older ones while it can't be asked."""

    def __init__(
        self, directory: Directory, settings: site.Directory, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory, self._settings, self._clock = directory, settings, clock
        self._known: dict[str | int, tuple[float, Account]] = {}
        self._spared_until = float("-inf")

    async def account(self, name: str) -> Account:
        """See :meth:`Directory.account`; at most as old as the site allows."""
        return await self._remembered(name, self._directory.account)

    async def pool_account(self, uid: int) -> Account:
        """See :meth:`Directory.pool_account`; at most as old as the site allows."""
        return await self._remembered(uid, self._directory.pool_account)

    async def _remembered(self, key: Key, ask: Callable[[Key], Awaitable[Account]]) -> Account:
        known = self._known_since(key, self._settings.cache_seconds)
        if known is not None:
            return known
        older = self._known_since(key, self._settings.outage_seconds)
        if older is not None and self._clock() < self._spared_until:
            return older
        try:
            account = await ask(key)
        except DirectoryUnavailable:
            # Who is known does not wait for it each time.
            self._spared_until = self._clock() + self._settings.timeout_seconds
            if older is None:
                raise
            return older
        self._forget_oldest()
        self._known[key] = (self._clock(), account)
        return account

    def _known_since(self, key: str | int, seconds: float) -> Account | None:
        asked, account = self._known.get(key, (float("-inf"), None))
        return account if self._clock() - asked < seconds else None

    def _forget_oldest(self) -> None:
        """So that the memory's size is bounded by who came within the longest time that counts."""
        longest = max(self._settings.cache_seconds, self._settings.outage_seconds)
        for key in [key for key, (asked, _) in self._known.items() if self._clock() - asked >= longest]:
            del self._known[key]


def of_identity(identity: site.Identity) -> CachedDirectory:
    """The directory of a site, with a memory of its own."""
    return CachedDirectory(LdapDirectory(identity), identity.directory)
