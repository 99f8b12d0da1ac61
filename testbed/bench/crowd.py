"""People for the bench alone: logins of the JupyterHub of the class whose accounts the hub itself knows."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.identity.accounts import IDENTITY_VARIABLES
from gateway.site import AccountSource, load
from testbed import hub, people, secret_files
from testbed.paths import SITE

FIRST_UID = 41001
"""Of nobody else."""
TOKEN_SECONDS = 4 * 3600
"""After that the hub forgets their tokens by itself; nobody can log in as them once the bench has ended."""


@dataclass(frozen=True)
class Member:
    """One of them."""

    name: str
    uid: int
    gid: int

    @property
    def env(self) -> dict[str, str]:
        """What such users must pass (user guide, section 2)."""
        return dict(zip(IDENTITY_VARIABLES, map(str, (self.uid, self.gid)), strict=True))


def members(count: int) -> list[Member]:
    """That many of them."""
    classes = load(SITE).identity.classes
    suffix = next(user_class.suffix for user_class in classes if user_class.account is AccountSource.HUB)
    gid = people.load().groups[0].gid
    return [Member(f"bench{number:02}{suffix}", FIRST_UID + number, gid) for number in range(count)]


@contextlib.contextmanager
def logged_in(everybody: Sequence[Member]) -> Iterator[Mapping[str, str]]:
    """They exist for the hub while the context lasts: name -> token."""
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
