"""The testbed's JupyterHub answers gateways and people as a real one does."""

import pytest
import requests

from testbed import hub, people
from testbed.paths import SECRETS

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("testbed")]


def get(path: str, token: str) -> requests.Response:
    return requests.get(f"{hub.API_URL}/{path}", headers={"Authorization": f"token {token}"}, timeout=hub.TIMEOUT)


def test_wrong_password_is_refused() -> None:
    with pytest.raises(PermissionError):
        hub.request_token("alice", hub.password("bob"))


def test_a_name_with_a_path_outside_the_password_directory_is_refused() -> None:
    with pytest.raises(PermissionError):
        hub.request_token("../passwords/alice", hub.password("alice"))


def test_a_users_token_reads_only_the_users_own_record() -> None:
    answer = get("user", hub.token("alice")).json()
    assert answer["name"] == "alice"
    assert hub.scopes("alice")[0] in answer["scopes"]
    assert get("users/bob", hub.token("alice")).status_code == 404
    assert get("users", hub.token("alice")).status_code == 403


def test_the_gateways_token_reads_accounts_that_the_hub_knows() -> None:
    token = (SECRETS / "hub-token").read_text()
    known = {person.name: get(f"users/{person.name}", token).json()["auth_state"] for person in people.load().people}
    assert known["alice"] == {}
    assert known["dave-cern"] == {"uid": 30001, "gid": 30000}
    assert known["erin-fnal"] == {"uid": 30002, "gid": 30000}
    assert known["frank-fnal"] == {"uid": 30003, "gid": 30000}


def test_the_hub_starts_no_notebook_servers() -> None:
    answer = requests.post(
        f"{hub.API_URL}/users/alice/server",
        headers={"Authorization": f"token {hub.token('alice')}"},
        timeout=hub.TIMEOUT,
    )
    assert answer.status_code == 403
