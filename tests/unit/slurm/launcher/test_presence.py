"""A cluster starts only with its user's token, as JupyterHub says, and nothing is left of any other start."""

import json
import socket

import pytest

from gateway.slurm.launcher import accounts, presence
from gateway.slurm.launcher.actions import ACTIONS, NEED_PRESENCE
from tests.unit.slurm.launcher.hub import TOKEN, http, user
from tests.unit.slurm.launcher.world import CLUSTER

pytestmark = pytest.mark.finding("R6")
CANARY = "c0ffee-token"


def nothing_is_done(setting):
    return not setting.staging.exists() and setting.called("sbatch") is None


def test_the_hub_is_asked_whose_the_token_is(setting):
    assert setting.start() == {"ok": True, "job": "4711"}
    (head,) = setting.hub.asked
    assert head.startswith("GET /hub/api/user HTTP/1.1\r\n")
    assert f"\r\nAuthorization: token {TOKEN}\r\n" in head


def test_the_hub_is_asked_before_the_launcher_becomes_the_user(setting, monkeypatch):
    became = []
    monkeypatch.setattr(accounts, "become", became.append)
    assert "error" in setting.start(token="another")
    assert (len(setting.hub.asked), became) == (1, [])


@pytest.mark.parametrize(
    "token",
    [None, "", 5, True, [TOKEN], {TOKEN: 1}, f"{TOKEN}\n", f"{TOKEN}\r\nX: y", f" {TOKEN}", "é", "\0", "a" * 1025],
)
def test_what_is_no_token_asks_nobody(setting, token):
    assert setting.start(token=token)["error"] == "RequestError: the request lacks the user's token of JupyterHub"
    assert setting.hub.asked == []
    assert nothing_is_done(setting)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found"])
def test_a_token_that_the_hub_does_not_know_starts_nothing(setting, status):
    # An error has the form of a user here, so that the status alone tells.
    setting.hub.answer = user().replace(b"200 OK", status.encode())
    assert setting.start()["error"] == "RequestError: JupyterHub does not know the request's token"
    assert nothing_is_done(setting)


@pytest.mark.parametrize(
    "changed", [{"name": "bob"}, {"name": "Alice"}, {"name": None}, {"name": ["alice"]}, {"kind": "service"}]
)
def test_the_token_of_somebody_else_starts_nothing(setting, changed):
    setting.hub.answer = user(**changed)
    assert setting.start()["error"] == "RequestError: the request's token is not the one of 'alice'"
    assert nothing_is_done(setting)


FAULTS = {
    "a redirect": (user().replace(b"200 OK", b"302 Found\r\nLocation: /hub/api/user"), "JupyterHub answers 302"),
    "a fault of its own": (user().replace(b"200 OK", b"500 Internal Server Error"), "JupyterHub answers 500"),
    "no HTTP": (b"garbage\r\n\r\n", "BadStatusLine"),
    "nothing": (b"\n", "BadStatusLine"),
    "a long line": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**5, "LineTooLong"),
    "many headers": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200, "HTTPException"),
    "a part": (http(b'{"name": "alice"')[:-4], "JSONDecodeError"),
    "no JSON": (http(b"alice"), "JSONDecodeError"),
    "no text": (http(b'"\xff"'), "UnicodeDecodeError"),
    "deep JSON": (http(b"[" * 60_000), "RecursionError"),
    "a list": (http(b'["alice"]'), "JupyterHub's answer is no JSON object"),
    "too much": (user(name="alice", groups="x" * presence.MOST_BYTES), "has more than 65536 bytes"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_hub_is_told_apart_and_starts_nothing(setting, fault):
    setting.hub.answer, said = FAULTS[fault]
    answer = setting.start()
    assert answer.keys() == {"ok", "hub"}
    assert said in answer["hub"]
    assert len(setting.hub.asked) == 1
    assert nothing_is_done(setting)


@pytest.mark.parametrize("part", [b"x" * 1000, b"X: y\r\n"], ids=["content", "headers"])
def test_an_answer_without_an_end_starts_nothing(setting, part):
    end = b"\r\n" if part.startswith(b"x") else b""
    setting.hub.forever(b"HTTP/1.1 200 OK\r\n" + end, part)
    assert "JupyterHub" in setting.start()["hub"]
    assert nothing_is_done(setting)


def test_a_silent_hub_is_given_up(setting, monkeypatch):
    monkeypatch.setattr(presence, "HUB_SECONDS", 0.1)
    setting.hub.hang()
    assert setting.start() == {"ok": False, "hub": "JupyterHub gives no readable answer (TimeoutError)"}
    assert nothing_is_done(setting)


def test_a_hub_that_is_down_starts_nothing(setting):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        setting.limit(hub_api_url=f"http://127.0.0.1:{closed.getsockname()[1]}/hub/api")
        assert setting.start()["hub"] == "JupyterHub gives no readable answer (ConnectionRefusedError)"
    assert nothing_is_done(setting)


@pytest.mark.parametrize(("name", "is_known"), [("localhost", True), ("localhost", False), ("elsewhere", True)])
def test_a_hub_with_https_is_asked_only_by_a_certificate_of_the_sites_authority(setting, name, is_known):
    authority = setting.hub.secure(name, setting.path)
    url = setting.hub.api_url.replace("http://127.0.0.1", "https://localhost")
    setting.limit(hub_api_url=url, hub_ca_file=authority if is_known else None)
    answer = setting.start()
    if name == "localhost" and is_known:
        assert answer == {"ok": True, "job": "4711"}
        return
    assert answer["hub"] == "JupyterHub gives no readable answer (SSLCertVerificationError)"
    assert setting.hub.asked == []
    assert nothing_is_done(setting)


def test_an_authority_that_is_not_there_is_a_fault(setting):
    url = setting.hub.api_url.replace("http:", "https:")
    setting.limit(hub_api_url=url, hub_ca_file=str(setting.path / "absent"))
    assert "FileNotFoundError" in setting.start()["hub"]


def test_a_hub_that_the_request_names_is_not_asked(setting):
    limits = json.loads(setting.configuration.read_text())
    setting.limit(hub_api_url="http://127.0.0.1:9/hub/api")
    assert "JupyterHub" in setting.start(**limits)["hub"]
    assert setting.hub.asked == []


@pytest.mark.parametrize("answer", [None, user(name="bob"), b"garbage"])
def test_no_answer_has_the_token(setting, answer):
    setting.hub.answer = answer
    assert CANARY not in json.dumps(setting.start(token=CANARY))
    assert CANARY not in json.dumps(setting.start(token=f"{CANARY}\n"))


def test_no_file_of_the_cluster_and_no_program_gets_the_token(setting):
    setting.start()
    written = [path.read_bytes() for path in setting.staging.rglob("*") if path.is_file()]
    called = setting.called("sbatch")
    given = (called.arguments, called.environment, called.input)
    assert written
    assert not [content for content in [*written, str(given).encode()] if TOKEN.encode() in content]


def test_only_a_start_needs_the_token(setting):
    assert {"start"} == NEED_PRESENCE < set(ACTIONS)
    setting.prepare()
    assert setting.submit() == {"ok": True, "job": "4711"}
    assert setting.cancel() == {"ok": True, "skipped": []}
    assert setting.answer("discard") == {"ok": True}
    assert len(setting.hub.asked) == 1


@pytest.mark.parametrize("place", ["nothing", "another cluster", "a link", "a file", "a staging directory by a link"])
@pytest.mark.parametrize("log", ["dask-worker-%A_%a.log", f"dask-scheduler-{CLUSTER}.log"])
def test_a_job_of_a_cluster_that_no_start_has_made_is_not_submitted(setting, place, log):
    elsewhere = setting.path / "elsewhere" / CLUSTER
    elsewhere.mkdir(parents=True)
    if place == "a staging directory by a link":
        setting.staging.symlink_to(elsewhere.parent)
    elif place != "nothing":
        setting.staging.mkdir()
    if place == "another cluster":
        (setting.staging / ("f" * 32)).mkdir()
    elif place == "a link":
        setting.folder.symlink_to(elsewhere)
    elif place == "a file":
        setting.folder.touch()
    said = f"RequestError: the cluster {CLUSTER} has no folder of the user: it was not started, or has ended"
    assert setting.submit(log=log) == {"ok": False, "error": said}
    assert setting.called("sbatch") is None


def test_a_cluster_that_has_ended_gets_no_more_jobs(setting):
    setting.prepare()
    setting.cancel()
    assert "has no folder" in setting.submit()["error"]
    assert setting.called("sbatch") is None
