"""People for the bench alone: logins of the JupyterHub in the class whose accounts the hub knows."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.identity.accounts import IDENTITY_VARIABLES
from gateway.site import AccountSource, load
from testbed import hub, people, secret_files
from testbed.paths import SITE

FIRST_UID = 41001
"""First uid of these people; no other account has one of them."""
TOKEN_SECONDS = 4 * 3600
"""Lifetime of their tokens. The hub forgets these by itself; after the bench these people can't log in."""


@dataclass(frozen=True)
class Member:
    """One of these people."""

    name: str
    uid: int
    gid: int

    @property
    def env(self) -> dict[str, str]:
        """Variables that users of this class must pass (user guide, section 2)."""
        return dict(zip(IDENTITY_VARIABLES, map(str, (self.uid, self.gid)), strict=True))


def members(count: int) -> list[Member]:
    """Return that many people."""
    classes = load(SITE).identity.classes
    suffix = next(user_class.suffix for user_class in classes if user_class.account is AccountSource.HUB)
    gid = people.load().groups[0].gid
    return [Member(f"bench{number:02}{suffix}", FIRST_UID + number, gid) for number in range(count)]


@contextlib.contextmanager
def logged_in(everybody: Sequence[Member]) -> Iterator[Mapping[str, str]]:
    """Make people known to the hub while the context lasts; yield name -> token."""
    accounts = hub.MOUNTED / "accounts.json"
    before = accounts.read_text()
    passwords = {member.name: secret_files.ensure(f"passwords/{member.name}", octets=12)[0] for member in everybody}
    identity = load(SITE).identity.hub
    added = {member.name: {identity.uid_key: member.uid, identity.gid_key: member.gid} for member in everybody}
    try:
        accounts.write_text(json.dumps({**json.loads(before), **added}))
        yield {
            name: hub.request_token(name, path.read_text(), lifetime_seconds=TOKEN_SECONDS)
            for name, path in passwords.items()
        }
    finally:
        accounts.write_text(before)
        for path in passwords.values():
            path.unlink()
