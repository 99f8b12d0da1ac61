"""The section ``identity``: classes of users, and the systems that know their accounts."""

import posixpath
import re
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from gateway.site.types import AbsolutePath, HttpUrl, Model, Name, PosixId, Seconds


class AccountSource(StrEnum):
    """The system that knows the uid, gid and groups of a user class."""

    DIRECTORY = "directory"
    """The directory has an account under the JupyterHub name."""
    HUB = "hub"
    """JupyterHub has the account in the user's auth state."""
    POOL = "pool"
    """JupyterHub has the uid and gid of a pool account in the user's auth state, and the directory has that account."""


class UserClass(Model):
    """A class of users, which the exact suffix of their JupyterHub name tells apart."""

    name: Name
    suffix: Annotated[str, Field(pattern=r"^(-[a-z0-9]+)?$")]
    """The end of a name of this class; empty for names without any listed suffix."""
    account: AccountSource
    """The source of uid, gid and groups."""
    label: str
    """How messages call these users, for example ``CERN``."""


class Directory(Model):
    """The LDAP directory that knows accounts."""

    url: Annotated[str, Field(pattern=r"^ldaps://[^/\s]+$")]
    """The gateways use TLS always, and always verify the certificate."""
    people_base: str
    """Base of the entries with ``uid``, ``uidNumber``, ``gidNumber`` (RFC 2307 posixAccount)."""
    groups_base: str
    """Base of the entries with ``gidNumber``, ``memberUid`` (RFC 2307 posixGroup)."""
    timeout_seconds: Seconds
    """Timeout of a connection and of each answer."""
    cache_seconds: Seconds
    """The age at which a gateway looks an account up again."""
    outage_seconds: Seconds
    """The age up to which a gateway uses an account while the directory does not answer."""
    ca_file: AbsolutePath | None = None
    """Certificate authority of the directory, as a path on the gateways; the system's authorities when absent."""


class Hub(Model):
    """The JupyterHub that authenticates users."""

    api_url: HttpUrl
    """Address at which the gateways reach its API, with ``/hub/api``. Their tokens can be read on the way of http."""
    ca_file: AbsolutePath | None = None
    """Certificate authority of an https :attr:`api_url`, as a path on the gateways in the directory of the directory's
    ``ca_file``, or that same file; the system's authorities when absent."""
    public_url: HttpUrl
    """Address at which browsers reach it, with ``/hub``: there users log in before they see a dashboard."""
    service_name: Name
    """The gateways' name as a JupyterHub service: a token must carry ``access:services!service=NAME``."""
    uid_key: str = "uid"
    """Key of the uid in the auth state of users whose account comes from the hub."""
    gid_key: str = "gid"
    """Key of the gid in that auth state."""
    groups_key: str = "groups"
    """Key of the list of supplementary gids in that auth state, which may lack it. Pods have the directory's groups."""


class Pool(Model):
    """Pool accounts: accounts of the directory that JupyterHub lends to users whose own account is elsewhere."""

    account_pattern: Annotated[str, Field(min_length=1, description="regular expression for a whole name")]
    """The names of all pool accounts. The gateways refuse a user whose JupyterHub name matches."""

    @field_validator("account_pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    def has(self, name: str) -> bool:
        """Return whether the account of that name is a pool account."""
        return re.fullmatch(self.account_pattern, name) is not None


class Identity(Model):
    """User classes, and the bounds and sources of their accounts."""

    classes: Annotated[tuple[UserClass, ...], Field(min_length=1)]
    minimum_uid: PosixId
    """The gateways refuse accounts with a lower uid, which are system accounts."""
    minimum_gid: PosixId
    """The gateways refuse accounts with a lower primary gid, and leave out lower supplementary groups."""
    directory: Directory
    hub: Hub
    pool: Pool | None = None
    """Needed when a class takes its accounts from the hub or the pool: the accounts that the site lends."""

    @model_validator(mode="after")
    def _pool_is_known(self) -> Self:
        sources = {user_class.account for user_class in self.classes}
        if sources & {AccountSource.HUB, AccountSource.POOL} and self.pool is None:
            raise ValueError(
                "a class takes its accounts from the hub or the pool, but there is no pool: add the section pool, whose"
                " account_pattern tells which accounts of the directory the site lends"
            )
        return self

    @model_validator(mode="after")
    def _authorities_are_in_one_directory(self) -> Self:
        files = {file for file in (self.directory.ca_file, self.hub.ca_file) if file is not None}
        if len({posixpath.dirname(file) for file in files}) > 1:
            raise ValueError(f"directory.ca_file and hub.ca_file are in two directories: {', '.join(sorted(files))}")
        return self

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for key in ("name", "suffix"):
            values = [getattr(user_class, key) for user_class in self.classes]
            if len(set(values)) != len(values):
                raise ValueError(f"two user classes have the same {key}")
        return self
