"""Test the identity of people in the notebook container and in JupyterHub."""

from pathlib import Path

import pytest

from gateway import site
from testbed import hub, notebook, people
from testbed.paths import SITE


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alice", (20001, 20000, (21001,))),
        ("dave-cern", (30001, 30000, ())),
        ("mallory", (65534, 65534, ())),
    ],
)
def test_identity(name: str, expected: tuple[int, int, tuple[int, ...]]) -> None:
    assert notebook.identity(name) == expected


def test_strangers_have_no_identity() -> None:
    with pytest.raises(KeyError):
        notebook.identity("nobody-here")


def test_session_has_the_token_in_a_private_file_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "token", lambda name: f"token-of-{name}")
    with notebook.Session("alice", {"ONE": "1", "NB_USER": None}) as session:
        command = session.command(["python"])
        file = Path(command[command.index("--env-file") + 1])
        assert "token-of-alice" not in " ".join(command)
        lines = file.read_text().splitlines()
    assert {"JUPYTERHUB_API_TOKEN=token-of-alice", "NB_UID=20001", "NB_GID=20000", "ONE=1"} <= set(lines)
    assert not [line for line in lines if line.startswith("NB_USER")]


def test_volumes_that_nobody_writes_are_read_only() -> None:
    volumes = {volume.name: notebook.target(volume) for volume in site.load(SITE).storage}
    assert volumes == {"work": "/work", "depot": "/depot/cms", "cvmfs": "/cvmfs:ro", "eos": "/eos/purdue:ro"}


def test_hub_knows_the_accounts_of_external_users_alone() -> None:
    states = {person.name: hub.auth_state(person) for person in people.load().people}
    assert {"alice", "erin-fnal", "mallory"} <= states.keys()
    assert {name: state for name, state in states.items() if state} == {
        "dave-cern": {"uid": 30001, "gid": 30000},
        "erin-fnal": {"uid": 30002, "gid": 30000},
        "frank-fnal": {"uid": 30003, "gid": 30000},
    }
