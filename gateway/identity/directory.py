"""Look up accounts in the LDAP directory, with a cache.

A cached account is valid for the site's ``cache_seconds``, or for its ``outage_seconds`` while the directory does not
answer.
"""

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
    """Refuse a request because the directory does not answer now."""


class Directory(Protocol):
    """A source of accounts."""

    async def account(self, name: str) -> Account:
        """Return the account of exactly that name.

        Raises :class:`gateway.identity.accounts.AccountUnknown`, :class:`DirectoryUnavailable`.
        """

    async def pool_account(self, uid: int) -> Account:
        """Return the pool account with that uid. Callers use it only for a site that has a pool.

        Raises :class:`gateway.identity.accounts.AccountUnknown`, :class:`DirectoryUnavailable`.
        """

    async def account_with_uid(self, uid: int) -> Account:
        """Return the account with that uid, whatever its name.

        Raises :class:`gateway.identity.accounts.AccountUnknown`, :class:`DirectoryUnavailable`.
        """


class LdapDirectory:
    """The site's LDAP directory (RFC 2307). Each look-up runs in a thread, over TLS with a verified certificate."""

    def __init__(self, identity: site.Identity) -> None:
        self.settings, self.pool = identity.directory, identity.pool
        tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=self.settings.ca_file)
        self._server = ldap3.Server(
            self.settings.url, tls=tls, connect_timeout=self.settings.timeout_seconds, get_info=ldap3.NONE
        )

    async def account(self, name: str) -> Account:
        """See :meth:`Directory.account`."""
        return await self._look_up(f"of {name!r}", functools.partial(self._account, name))

    async def pool_account(self, uid: int) -> Account:
        """See :meth:`Directory.pool_account`."""
        return await self._look_up(f"with the uid {uid}", functools.partial(self._pool_account, uid))

    async def account_with_uid(self, uid: int) -> Account:
        """See :meth:`Directory.account_with_uid`."""
        return await self._look_up(f"with the uid {uid}", functools.partial(self._account_with_uid, uid))

    async def _look_up(self, whose: str, query_account: Callable[[ldap3.Connection], Account]) -> Account:
        try:
            return await asyncio.to_thread(self._connected, query_account)
        except LDAPException as error:
            raise DirectoryUnavailable(
                f"The account {whose} can't be looked up now ({type(error).__name__}): try again in a minute."
            ) from error

    def _connected(self, query_account: Callable[[ldap3.Connection], Account]) -> Account:
        with ldap3.Connection(
            self._server,
            auto_bind=True,
            read_only=True,
            receive_timeout=self.settings.timeout_seconds,
            # Without it, a result like "busy" looks like a search without entries.
            raise_exceptions=True,
        ) as connection:
            return query_account(connection)

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

    def _account_with_uid(self, uid: int, connection: ldap3.Connection) -> Account:
        return self._account(accounts.only_name(uid, self._people(connection, f"(uidNumber={uid:d})")), connection)

    def _people(self, connection: ldap3.Connection, condition: str) -> list[Attributes]:
        query = f"(&(objectClass=posixAccount){condition})"
        return self._search(connection, self.settings.people_base, query, ["uid", "uidNumber", "gidNumber"])

    @staticmethod
    def _search(connection: ldap3.Connection, base: str, query: str, attributes: list[str]) -> list[Attributes]:
        connection.search(base, query, attributes=attributes)
        return [dict(entry["attributes"]) for entry in connection.response if entry["type"] == "searchResEntry"]


class CachedDirectory:
    """A directory with a cache of accounts, which also serves older accounts while the directory does not answer."""

    def __init__(
        self, directory: Directory, settings: site.Directory, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory, self._settings, self._clock = directory, settings, clock
        self._cache: dict[str | int, tuple[float, Account]] = {}
        self._retry_after = float("-inf")

    async def account(self, name: str) -> Account:
        """See :meth:`Directory.account`; the account is at most as old as the site allows."""
        return await self._cached(name, self._directory.account)

    async def pool_account(self, uid: int) -> Account:
        """See :meth:`Directory.pool_account`; the account is at most as old as the site allows."""
        return await self._cached(uid, self._directory.pool_account)

    async def account_with_uid(self, uid: int) -> Account:
        """See :meth:`Directory.account_with_uid`; the account is at most as old as the site allows."""
        # A key of its own: pool_account accepts fewer accounts. No user's name has a character like "=".
        return await self._cached(f"uid={uid}", lambda _: self._directory.account_with_uid(uid))

    async def _cached(self, key: Key, ask: Callable[[Key], Awaitable[Account]]) -> Account:
        known = self._cached_within(key, self._settings.cache_seconds)
        if known is not None:
            return known
        older = self._cached_within(key, self._settings.outage_seconds)
        if older is not None and self._clock() < self._retry_after:
            return older
        try:
            account = await ask(key)
        except DirectoryUnavailable:
            # Until then, users with a cached account don't wait for the timeout of another look-up.
            self._retry_after = self._clock() + self._settings.timeout_seconds
            if older is None:
                raise
            return older
        self._drop_expired()
        self._cache[key] = (self._clock(), account)
        return account

    def _cached_within(self, key: str | int, seconds: float) -> Account | None:
        asked, account = self._cache.get(key, (float("-inf"), None))
        return account if self._clock() - asked < seconds else None

    def _drop_expired(self) -> None:
        """Drop accounts that are too old for any use. This bounds the cache to the users of that time."""
        longest = max(self._settings.cache_seconds, self._settings.outage_seconds)
        for key in [key for key, (asked, _) in self._cache.items() if self._clock() - asked >= longest]:
            del self._cache[key]


def of_identity(identity: site.Identity) -> CachedDirectory:
    """Return a client of the site's directory, with a cache of its own."""
    return CachedDirectory(LdapDirectory(identity), identity.directory)
