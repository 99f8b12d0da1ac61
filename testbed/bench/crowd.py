"""People for the bench alone: logins of the JupyterHub of the class whose accounts the hub itself knows."""

import contextlib
import json
from collections.abc import Iterator, Mapping

from gateway.site import AccountSource, load
from testbed import hub, people, secret_files
from testbed.paths import SECRETS, SITE

FIRST_UID = 41001
"""Of nobody else."""
TOKEN_SECONDS = 4 * 3600
"""After that the hub forgets their tokens by itself; nobody can log in as them once the bench has ended."""


def names(count: int) -> list[str]:
    """The people's names."""
    classes = load(SITE).identity.classes
    suffix = next(user_class.suffix for user_class in classes if user_class.account is AccountSource.HUB)
    return [f"bench{number:02}{suffix}" for number in range(1, count + 1)]


@contextlib.contextmanager
def logged_in(count: int) -> Iterator[Mapping[str, str]]:
    """That many people exist for the hub while the context lasts: name -> token."""
    accounts = hub.MOUNTED / "accounts.json"
    before = accounts.read_text()
    passwords = {name: secret_files.ensure(f"passwords/{name}", octets=12)[0] for name in names(count)}
    identity = load(SITE).identity.hub
    gid = people.load().groups[0].gid
    added = {name: {identity.uid_key: FIRST_UID + index, identity.gid_key: gid} for index, name in enumerate(passwords)}
    try:
        accounts.write_text(json.dumps({**json.loads(before), **added}))
        yield {
            name: hub.request_token(name, path.read_text(), lifetime_seconds=TOKEN_SECONDS)
            for name, path in passwords.items()
        }
    finally:
        accounts.write_text(before)
        for name in passwords:
            (SECRETS / "passwords" / name).unlink()
