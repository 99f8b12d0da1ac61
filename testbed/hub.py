"""The testbed's JupyterHub: a real one, at which every person logs in and gets a token for the gateways."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import requests

from gateway import site
from gateway.identity import accounts
from gateway.service.dashboards import addresses
from release import content, process
from testbed import docker, people, secret_files
from testbed.images.table import HUB
from testbed.paths import SECRETS, SITE, STATE

NAME = "af-hub"
ROOT_URL = f"{site.load(SITE).identity.hub.public_url}/"
"""The hub's address for browsers, through its proxy."""
ADDRESS = urlsplit(ROOT_URL).hostname
API_URL = f"{ROOT_URL}api"
MOUNTED = STATE / "hub" / "configuration"
DATABASE = STATE / "hub" / "state"
LEAST_PRIVILEGE = (
    *("--user", f"{os.getuid()}:{os.getgid()}", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--read-only", "--tmpfs", "/tmp"),  # noqa: S108 - in the container
)
"""Run as the owner of the mounted files, without any capability of root."""
SECONDS_TO_START = 60
TIMEOUT = 10
"""Timeout of one request in seconds."""


class NoTokenError(Exception):
    """A person has no token yet."""


def token(name: str) -> str:
    """Return a person's JupyterHub token. Raises :class:`NoTokenError` when :func:`ensure_tokens` has not run."""
    try:
        return (SECRETS / "tokens" / name).read_text()
    except FileNotFoundError as error:
        raise NoTokenError(f"{name} has no JupyterHub token: run `make testbed` first") from error


def password_file(name: str) -> Path:
    """Return the file with a person's password for the log-in form."""
    return SECRETS / "passwords" / name


def password(name: str) -> str:
    """Return a person's password for the log-in form."""
    return password_file(name).read_text()


def service_token(backend: site.Backend) -> tuple[Path, bool]:
    """Return the file with the API token of a gateway's service, and whether it is new."""
    names = {site.Backend.KUBERNETES: "hub-token", site.Backend.SLURM: "hub-token-slurm"}
    return secret_files.ensure(names[backend])


def ensure_hub() -> None:
    """Have a JupyterHub that answers, with all people of ``people.yaml`` and each gateway as a service."""
    gateways = {backend: site.load(SITE).gateway(backend) for backend in site.Backend}
    secrets = {
        **{service_token(backend): gateway.hub_service for backend, gateway in gateways.items()},
        secret_files.ensure("hub-crypt-key"): "crypt-key",
    }
    for person in people.load().people:
        secret_files.ensure(f"passwords/{person.name}", octets=12)
    if any(new for _, new in secrets):
        # A bind mount keeps showing the file that existed when the container started.
        docker.remove_container(NAME)
    DATABASE.mkdir(mode=0o700, parents=True, exist_ok=True)
    mounts = {path: f"/run/testbed-secrets/{target}:ro" for (path, _), target in secrets.items()}
    mounts |= {SECRETS / "passwords": "/run/testbed-secrets/passwords:ro", MOUNTED: "/etc/testbed:ro"}
    mounts |= {DATABASE: "/srv/jupyterhub"}
    docker.ensure_container(
        docker.Container(
            name=NAME,
            image=HUB.ensure(),
            address=ADDRESS,
            aliases=("hub",),
            mounts=mounts,
            options=LEAST_PRIVILEGE,
            inputs=(_write_configuration(),),
        )
    )
    _wait()


def _write_configuration() -> str:
    """Write the hub's knowledge of people and services. Return a digest of the files that it reads only at start."""
    MOUNTED.mkdir(parents=True, exist_ok=True)
    accounts = {person.name: auth_state(person) for person in people.load().people}
    (MOUNTED / "accounts.json").write_text(json.dumps(accounts))
    written = {
        "services.json": _services(),
        "account-readers.json": _account_readers(),
        "administrators.json": _administrators(),
    }
    for name, value in written.items():
        (MOUNTED / name).write_text(json.dumps(value))
    return content.digest(*(MOUNTED / name for name in written))


def _services() -> list[Mapping[str, str | bool]]:
    """Return JupyterHub's description of each gateway's service, without the token."""
    described = site.load(SITE)
    clients = {backend: addresses.client_of(described, backend) for backend in site.Backend}
    return [
        {
            "name": described.gateway(backend).hub_service,
            "oauth_client_id": client.identifier,
            "oauth_redirect_uri": client.callback,
            # Both are the facility's: a person has nothing to decide.
            "oauth_no_confirm": True,
        }
        for backend, client in clients.items()
    ]


def _account_readers() -> list[str]:
    """Return the services of the gateways that serve users whose accounts the hub has."""
    described = site.load(SITE)
    lent = {item.name for item in described.identity.classes if item.account is not site.AccountSource.DIRECTORY}
    gateways = [described.gateway(backend) for backend in site.Backend]
    return [gateway.hub_service for gateway in gateways if lent & set(gateway.classes)]


def _administrators() -> list[str]:
    return [person.name for person in people.load().people if person.is_administrator]


def auth_state(person: people.Person) -> Mapping[str, int]:
    """Return what the hub tells the gateways of a person: uid and gid of the account that the hub lends, if it does."""
    identity = site.load(SITE).identity
    account = people.load().account_of(person)
    if account is None or accounts.classify(person.name, identity.classes).account is site.AccountSource.DIRECTORY:
        return {}
    return {identity.hub.uid_key: account.uid, identity.hub.gid_key: people.load().gid(account.group)}


def _wait() -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not _answers():
        if time.monotonic() > deadline:
            process.run(["docker", "logs", "--tail", "40", NAME])
            raise RuntimeError(f"JupyterHub did not answer {API_URL} within {SECONDS_TO_START} s; its log is above")
        time.sleep(0.3)


def _answers() -> bool:
    try:
        return requests.get(f"{API_URL}/", timeout=TIMEOUT).ok
    except (requests.ConnectionError, requests.Timeout):
        return False


def ensure_tokens() -> None:
    """Have a token for everybody that the hub accepts. A person without one logs in and requests it."""
    for person in people.load().people:
        if _knows(person) and _accepts_token(person.name):
            process.say(f"{person.name} has a token")
        else:
            secret_files.write(SECRETS / "tokens" / person.name, request_token(person.name, password(person.name)))
            process.say(f"{person.name} logged in and got a token")


def _knows(person: people.Person) -> bool:
    """Return whether the person logged in since their account changed: the hub learns uid and gid at a log-in."""
    answer = _get(f"users/{person.name}", (SECRETS / "hub-token").read_text())
    return answer.ok and answer.json()["auth_state"] == auth_state(person)


def _accepts_token(name: str) -> bool:
    try:
        answer = _get("user", token(name))
    except NoTokenError:
        return False
    return answer.ok and answer.json()["name"] == name and set(scopes(name)) & set(answer.json()["scopes"]) != set()


def _get(path: str, secret: str) -> requests.Response:
    return requests.get(f"{API_URL}/{path}", headers={"Authorization": f"token {secret}"}, timeout=TIMEOUT)


def scopes(name: str) -> tuple[str, str]:
    """Return the scopes of a token for the gateways: to use them, and to read whose token it is."""
    return f"access:services!service={site.load(SITE).identity.hub.service_name}", f"read:users!user={name}"


def request_token(name: str, secret: str, lifetime_seconds: int | None = None) -> str:
    """Log in through the form, as a browser does, and request a token of this lifetime from the hub's API.

    Raises ``PermissionError`` when the hub refuses the password.
    """
    with requests.Session() as browser:
        browser.get(f"{ROOT_URL}login", timeout=TIMEOUT).raise_for_status()
        form = {"username": name, "password": secret, "_xsrf": browser.cookies["_xsrf"]}
        answer = browser.post(f"{ROOT_URL}login", data=form, timeout=TIMEOUT)
        if answer.status_code in {401, 403}:
            raise PermissionError(f"JupyterHub refuses the password of {name}")
        answer.raise_for_status()
        answer = browser.post(
            f"{API_URL}/users/{name}/tokens",
            headers={"X-XSRFToken": browser.cookies["_xsrf"]},
            json={"note": "Dask Gateway", "scopes": scopes(name), "expires_in": lifetime_seconds},
            timeout=TIMEOUT,
        )
        answer.raise_for_status()
        return str(answer.json()["token"])
