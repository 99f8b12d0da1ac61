"""The authenticator of the testbed's JupyterHub."""

import asyncio
import hmac
import json
from pathlib import Path
from typing import TypedDict

from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler
from traitlets import Unicode


class Login(TypedDict):
    """What JupyterHub needs to know of a person who has logged in."""

    name: str
    auth_state: dict[str, int]


class PeopleAuthenticator(Authenticator):  # type: ignore[misc] # JupyterHub has no types here
    """Check passwords from files, and give pool accounts as auth state; both files are read at each log-in."""

    passwords = Unicode(config=True, help="Directory with one file per person, which holds the password")
    accounts = Unicode(config=True, help="JSON file: name -> auth state (uid and gid of a pool account, or nothing)")

    async def authenticate(self, _handler: BaseHandler | None, data: dict[str, str]) -> Login | None:
        """Return the person, with uid and gid as auth state where the hub knows the account; None refuses."""
        return await asyncio.to_thread(
            check, Path(self.accounts), Path(self.passwords), data["username"], data["password"]
        )


def check(accounts_file: Path, passwords: Path, name: str, password: str) -> Login | None:
    """Return the person of that name and password, or None."""
    accounts: dict[str, dict[str, int]] = json.loads(accounts_file.read_text())
    # A name becomes part of a path only after the file of accounts, which the testbed wrote, has confirmed it.
    if name not in accounts:
        return None
    expected = (passwords / name).read_text()
    if not hmac.compare_digest(expected.encode(), password.encode()):
        return None
    return {"name": name, "auth_state": accounts[name]}
