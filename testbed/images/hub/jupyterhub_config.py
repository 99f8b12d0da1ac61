"""Configuration of the testbed's JupyterHub. It authenticates people and gives them tokens; it starts no servers."""

import json
from pathlib import Path
from typing import Any

from people_authenticator import PeopleAuthenticator

MOUNTED = Path("/etc/testbed")
SECRETS = Path("/run/testbed-secrets")
STATE = Path("/srv/jupyterhub")
PROXY = Path("/tmp")  # noqa: S108 - a tmpfs of this container alone

services: list[dict[str, Any]] = json.loads((MOUNTED / "services.json").read_text())
names = [service["name"] for service in services]
account_readers: list[str] = json.loads((MOUNTED / "account-readers.json").read_text())

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - traitlets defines it while it reads this file

c.JupyterHub.bind_url = "http://:8000"
c.JupyterHub.hub_bind_url = "http://:8081/hub/"
c.JupyterHub.db_url = f"sqlite:///{STATE}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = str(STATE / "cookie-secret")
c.JupyterHub.upgrade_db = True
c.JupyterHub.default_url = "/hub/home"
c.JupyterHub.proxy_class = "traefik_file"
# Written at each start, with a new password: an old file would keep the old password.
c.TraefikFileProviderProxy.static_config_file = str(PROXY / "traefik.toml")
c.TraefikFileProviderProxy.dynamic_config_file = str(PROXY / "rules.toml")

c.JupyterHub.authenticator_class = PeopleAuthenticator
c.PeopleAuthenticator.passwords = str(SECRETS / "passwords")
c.PeopleAuthenticator.accounts = str(MOUNTED / "accounts.json")
c.PeopleAuthenticator.enable_auth_state = True
# A person with a password may log in: the authenticator reads the list of people itself.
c.PeopleAuthenticator.allow_all = True
c.PeopleAuthenticator.admin_users = set(json.loads((MOUNTED / "administrators.json").read_text()))
c.CryptKeeper.keys = [bytes.fromhex((SECRETS / "crypt-key").read_text())]

c.JupyterHub.services = [
    {**service, "api_token": (SECRETS / service["name"]).read_text().strip()} for service in services
]
c.JupyterHub.load_roles = [
    # JupyterHub has no narrower scope to read an auth state, and answers no question about a user without a name's.
    {"name": "account-readers", "services": account_readers, "scopes": ["read:users:name", "admin:auth_state"]},
    # Replaces JupyterHub's own definition of this role, which would allow servers too.
    {
        "name": "user",
        "scopes": ["read:users!user", "tokens!user", *(f"access:services!service={name}" for name in names)],
    },
]
