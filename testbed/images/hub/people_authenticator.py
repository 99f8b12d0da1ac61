"""Who may log in to the testbed's JupyterHub, and what it knows of them."""

import asyncio
import hmac
import json
from pathlib import Path
from typing import TypedDict

from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler
from traitlets import Unicode


class Login(TypedDict):
    """What JupyterHub wants to know of a person who has logged in."""

    name: str
    auth_state: dict[str, int]


class PeopleAuthenticator(Authenticator):  # type: ignore[misc] # JupyterHub has no types here
    """Passwords and pool accounts from files, read at each log-in."""

    passwords = Unicode(config=True, help="Directory with one file per person, which holds the password")
    accounts = Unicode(config=True, help="JSON file: name -> auth state (uid and gid of a pool account, or nothing)")

    async def authenticate(self, _handler: BaseHandler | None, data: dict[str, str]) -> Login | None:
        """The person, with uid and gid as auth state when the hub is the one who knows them; None when refused."""
        return await asyncio.to_thread(
            check, Path(self.accounts), Path(self.passwords), data["username"], data["password"]
        )


def check(accounts_file: Path, passwords: Path, name: str, password: str) -> Login | None:
    """The person of that name and password; None when there is none."""
    accounts: dict[str, dict[str, int]] = json.loads(accounts_file.read_text())
    # The name is a key of a file that we wrote before it becomes a path.
    if name not in accounts:
        return None
    expected = (passwords / name).read_text()
    if not hmac.compare_digest(expected.encode(), password.encode()):
        return None
    return {"name": name, "auth_state": accounts[name]}
