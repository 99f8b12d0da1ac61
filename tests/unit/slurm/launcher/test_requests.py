"""The checks of a request, and that the launcher answers in every case."""

import contextlib
import json
import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.slurm.launcher import accounts, connections, requests
from gateway.slurm.launcher.actions import ACTIONS
from tests.unit.processes import as_user
from tests.unit.slurm.launcher.world import GID, UID, know

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "5",
        '"start"',
        "{}",
        '{"action": "shell"}',
        '{"action": null}',
        '{"action": ["start"]}',
        '{"action": "checked_user"}',
        '{"action": "cancel"}',
        "\0",
        "[" * 100_000,
    ],
)
def test_every_text_is_answered(setting, text):
    found = setting.answer_to(text.encode())
    assert found["ok"] is False
    assert found["error"]
    assert json.dumps(found)


def test_missing_limits_are_answered(setting):
    setting.configuration.unlink()
    assert "FileNotFoundError" in setting.cancel()["error"]
    setting.configuration.write_text('{"minimum_uid": 0}')
    assert "TypeError" in setting.cancel()["error"]


@pytest.mark.weakness(9)
@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a" * 32 + "/..", "A" * 32, "a" * 31, "a" * 33, "a" * 32 + "\n", 5]
)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_cluster_has_a_name_of_its_kind(setting, action, name):
    setting.prepare()
    found = setting.answer(action, cluster=name, files=setting.files(), jobs=[], remove=True)
    assert found["ok"] is False
    assert setting.called("sbatch") is setting.called("scancel") is None
    assert setting.folder.is_dir()


@pytest.mark.parametrize("changed", [{"uid": 20002}, {"gid": 20002}, {"uid": None}, {"gid": "20000"}, {"uid": "20001"}])
def test_the_account_must_be_the_directorys(setting, changed):
    found = setting.prepare(**changed)
    assert "this machine gives the account the uid 20001 and the gid 20000, the directory gives it" in found["error"]
    assert not setting.staging.exists()


@pytest.mark.weakness(3)
@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (0, GID), (UID, 0), (999, GID), (UID, 999)])
@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_is_done_as_a_system_account(setting, monkeypatch, action, uid, gid):
    know(monkeypatch, uid, gid)
    found = setting.answer(action, uid=uid, gid=gid, files=setting.files(), jobs=["1"], remove=True)
    assert found == {"ok": False, "error": f"RequestError: uid {uid} and gid {gid} are a system account's"}
    assert setting.called("scancel") is None
    assert not setting.staging.exists()


@pytest.mark.weakness(3)
def test_nothing_is_done_as_root_whatever_the_limits_say(setting, monkeypatch):
    know(monkeypatch, 0, 0)
    limits = json.loads(setting.configuration.read_text())
    setting.configuration.write_text(json.dumps({**limits, "minimum_uid": 0, "minimum_gid": 0}))
    assert "system account" in setting.prepare(uid=0, gid=0)["error"]


@pytest.mark.weakness(3)
@pytest.mark.parametrize("username", ["", "nowhere", "alice\0", None, 5, ["alice"]])
def test_an_account_that_the_machine_does_not_know_is_refused(setting, username):
    assert "account" in setting.prepare(username=username)["error"]
    assert not setting.staging.exists()


@pytest.mark.weakness(3)
@pytest.mark.parametrize("groups", [["physics"], [], ["physics", "chemistry"]])
def test_an_account_outside_of_the_sites_groups_is_refused(setting, groups):
    limits = json.loads(setting.configuration.read_text())
    setting.configuration.write_text(json.dumps({**limits, "user_groups": groups}))
    assert "'alice' is in none of the groups" in setting.prepare()["error"]
    assert not setting.staging.exists()


@pytest.mark.finding("R2")
def test_a_peer_that_is_not_the_server_is_refused(setting):
    limits = json.loads(setting.configuration.read_text())
    other = next(entry.pw_name for entry in pwd.getpwall() if entry.pw_uid != os.getuid())
    setting.configuration.write_text(json.dumps({**limits, "server_account": other}))
    assert setting.prepare()["error"] == f"RequestError: the account with uid {os.getuid()} may not call the launcher"


def test_a_request_beyond_the_bound_is_refused(setting):
    assert "has more than" in setting.answer_to(b" " * (connections.MOST_REQUEST_BYTES + 1))["error"]


def test_an_answer_is_one_line_and_bounded():
    hostile = {"ok": False, "error": "a\nb\x1b[31m\u202e" + "x" * 10_000}
    line = connections.line(hostile)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    said = json.loads(line)["error"]
    assert said.startswith("a b [31m x")
    assert len(said) == connections.MOST_TEXT
    assert json.loads(connections.line({"ok": True, "skipped": ["1" * 12] * 9999}))["ok"] is False


def test_an_answer_reaches_a_peer_whose_request_was_not_read():
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"a request")
        theirs.shutdown(socket.SHUT_WR)
        with ours:
            connections.send(ours, b"an answer")
        assert [theirs.recv(100), theirs.recv(100)] == [b"an answer", b""]


def test_system_groups_are_not_taken_along(monkeypatch, setting):
    know(monkeypatch, UID, GID, groups=(GID, 21001, 27))
    limits = requests.read_limits(setting.configuration)
    request = {"username": "alice", "uid": UID, "gid": GID}
    assert accounts.checked(limits, request).groups == (GID, GID, 21001)


def test_the_launcher_becomes_the_user_for_good():
    if os.getuid() != 0:
        pytest.skip("only root changes its account")
    account = accounts.Account("alice", UID, GID, (GID, 21001))

    def ids():
        accounts.become(account)
        with contextlib.suppress(PermissionError):
            os.setuid(0)
        return os.getresuid(), os.getresgid(), sorted(os.getgroups())

    assert as_user(ids, uid=0, gid=0) == ((UID,) * 3, (GID,) * 3, [GID, 21001])


def test_the_program_answers_even_without_limits():
    theirs, ours = socket.socketpair()
    with theirs, ours:
        theirs.shutdown(socket.SHUT_WR)
        ended = subprocess.run(
            [sys.executable, "-m", "gateway.slurm.launcher"], stdin=ours, cwd=ROOT, capture_output=True, check=False
        )
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert json.loads(theirs.recv(10_000))["ok"] is False


def test_each_call_imports_the_standard_library_alone():
    code = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]);"
        " import gateway.slurm.launcher.__main__;"
        " print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True, check=True
    )
    assert set(ended.stdout.split()) - sys.stdlib_module_names == {"gateway"}
