"""JupyterHub as the gateways and people meet it."""

import pytest
import requests

from testbed import hub, people
from testbed.paths import SECRETS

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("testbed")]


def ask(path: str, token: str) -> requests.Response:
    return requests.get(f"{hub.API_URL}/{path}", headers={"Authorization": f"token {token}"}, timeout=hub.TIMEOUT)


def test_wrong_password_is_refused() -> None:
    with pytest.raises(PermissionError):
        hub.request_token("alice", hub.password("bob"))


def test_name_that_leads_out_of_the_passwords_is_refused() -> None:
    with pytest.raises(PermissionError):
        hub.request_token("../passwords/alice", hub.password("alice"))


def test_token_says_whose_it_is_and_no_more() -> None:
    answer = ask("user", hub.token("alice")).json()
    assert answer["name"] == "alice"
    assert hub.scopes("alice")[0] in answer["scopes"]
    assert ask("users/bob", hub.token("alice")).status_code == 404
    assert ask("users", hub.token("alice")).status_code == 403


def test_gateways_learn_the_accounts_that_the_hub_lends() -> None:
    token = (SECRETS / "hub-token").read_text()
    known = {person.name: ask(f"users/{person.name}", token).json()["auth_state"] for person in people.load().people}
    assert known["alice"] == {}
    assert known["dave-cern"] == {"uid": 30001, "gid": 30000}
    assert known["erin-fnal"] == {}


def test_nobody_gets_a_server_here() -> None:
    answer = requests.post(
        f"{hub.API_URL}/users/alice/server",
        headers={"Authorization": f"token {hub.token('alice')}"},
        timeout=hub.TIMEOUT,
    )
    assert answer.status_code == 403
