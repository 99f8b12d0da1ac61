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
from gateway.identity.accounts import Account, AccountUnknown

Attributes = dict[str, Any]
Key = TypeVar("Key", str, int)
Found = TypeVar("Found", Account, Account | None)
UNKNOWN_SECONDS = 10
"""How long, in seconds, the cache repeats that the directory has no valid account of a name."""


class DirectoryUnavailable(Refusal):
    """Refuse a request because the directory does not answer now."""


class Directory(Protocol):
    """A source of accounts."""

    async def account(self, name: str) -> Account:
        """Return the account of exactly that name.

        Raises :class:`gateway.identity.accounts.AccountUnknown`, :class:`DirectoryUnavailable`.
        """

    async def account_of_uid(self, uid: int) -> Account | None:
        """Return the account with that uid, or None.

        Raises :class:`gateway.identity.accounts.AccountUnknown`, :class:`DirectoryUnavailable`.
        """


class LdapDirectory:
    """The site's LDAP directory (RFC 2307). Each look-up runs in a thread, over TLS with a verified certificate."""

    def __init__(self, identity: site.Identity) -> None:
        self.settings = identity.directory
        self._tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=self.settings.ca_file)

    async def account(self, name: str) -> Account:
        """See :meth:`Directory.account`."""
        return await self._look_up(f"of {name!r}", functools.partial(self._account, name))

    async def account_of_uid(self, uid: int) -> Account | None:
        """See :meth:`Directory.account_of_uid`."""
        return await self._look_up(f"with the uid {uid}", functools.partial(self._account_of_uid, uid))

    async def _look_up(self, whose: str, query_account: Callable[[ldap3.Connection], Found]) -> Found:
        try:
            return await asyncio.to_thread(self._connected, query_account)
        except LDAPException as error:
            raise DirectoryUnavailable(
                f"The account {whose} can't be looked up now ({type(error).__name__}): try again in a minute."
            ) from error

    def _connected(self, query_account: Callable[[ldap3.Connection], Found]) -> Found:
        # One for each connection: a connection that closes in another thread clears the server's current address, and
        # an opening connection then fails with "invalid server address" (ldap3 2.9.1, not reported upstream).
        server = ldap3.Server(
            self.settings.url, tls=self._tls, connect_timeout=self.settings.timeout_seconds, get_info=ldap3.NONE
        )
        with ldap3.Connection(
            server,
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

    def _account_of_uid(self, uid: int, connection: ldap3.Connection) -> Account | None:
        name = accounts.name_of_uid(uid, self._people(connection, f"(uidNumber={uid:d})"))
        return None if name is None else self._account(name, connection)

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
        self._cache: dict[str | int, tuple[float, Account | None]] = {}
        self._unknown: dict[str | int, tuple[float, str]] = {}
        self._retry_after = float("-inf")

    async def account(self, name: str) -> Account:
        """See :meth:`Directory.account`; the account is at most as old as the site allows."""
        found = await self._cached(name, self._directory.account)
        assert found is not None
        return found

    async def account_of_uid(self, uid: int) -> Account | None:
        """See :meth:`Directory.account_of_uid`; the account is at most as old as the site allows."""
        return await self._cached(uid, self._directory.account_of_uid)

    async def _cached(self, key: Key, ask: Callable[[Key], Awaitable[Account | None]]) -> Account | None:
        known = self._cached_within(key, self._settings.cache_seconds)
        if known is not None:
            return known[0]
        older = self._cached_within(key, self._settings.outage_seconds)
        if older is not None and self._clock() < self._retry_after:
            return older[0]
        self._refuse_unknown(key)
        try:
            account = await ask(key)
        except DirectoryUnavailable:
            # Until then, users with a cached account don't wait for the timeout of another look-up.
            self._retry_after = self._clock() + self._settings.timeout_seconds
            if older is None:
                raise
            return older[0]
        except AccountUnknown as unknown:
            self._cache.pop(key, None)
            self._drop_expired()
            self._unknown[key] = (self._clock(), str(unknown))
            raise
        self._drop_expired()
        self._cache[key] = (self._clock(), account)
        return account

    def _refuse_unknown(self, key: str | int) -> None:
        asked, text = self._unknown.get(key, (float("-inf"), ""))
        if self._clock() - asked < UNKNOWN_SECONDS:
            raise AccountUnknown(text)

    def _cached_within(self, key: str | int, seconds: float) -> tuple[Account | None] | None:
        asked, account = self._cache.get(key, (float("-inf"), None))
        return (account,) if self._clock() - asked < seconds else None

    def _drop_expired(self) -> None:
        """Drop answers that are too old for any use. This bounds the cache to the users of that time."""
        longest = max(self._settings.cache_seconds, self._settings.outage_seconds)
        now = self._clock()
        self._cache = {key: found for key, found in self._cache.items() if now - found[0] < longest}
        self._unknown = {key: found for key, found in self._unknown.items() if now - found[0] < UNKNOWN_SECONDS}


def of_identity(identity: site.Identity) -> CachedDirectory:
    """Return a client of the site's directory, with a cache of its own."""
    return CachedDirectory(LdapDirectory(identity), identity.directory)
