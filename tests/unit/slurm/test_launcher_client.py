"""How the server calls the launcher and reads its answers."""

import asyncio
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import Refusal
from gateway.identity.hub import HubUnavailable
from gateway.slurm.jobs import Owner
from gateway.slurm.launcher import connections
from gateway.slurm.launcher.actions import ACTIONS
from gateway.slurm.launcher_client import LauncherClient, LauncherError, read_answer
from tests.unit.hostile import json_values, many, text

ALICE = Owner("c" * 32, "alice", 20001, 20000)


class Launcher:
    """A socket at which each call is answered by ``answer``, after ``may_answer`` is set."""

    def __init__(self, place):
        self.path = str(place / "launcher.sock")
        self.answer, self.asked, self.running, self.most = b'{"ok": true, "job": "7"}\n', [], 0, 0
        self.may_answer, self.two_asked = asyncio.Event(), asyncio.Event()
        self.may_answer.set()

    async def serve(self, reader, writer):
        self.running += 1
        self.most = max(self.most, self.running)
        self.asked.append(json.loads(await reader.read()))
        if len(self.asked) == 2:
            self.two_asked.set()
        await self.may_answer.wait()
        self.running -= 1
        writer.write(self.answer)
        writer.close()


@pytest.fixture
async def launcher(tmp_path):
    made = Launcher(tmp_path)
    async with await asyncio.start_unix_server(made.serve, made.path):
        yield made
        made.may_answer.set()


@pytest.mark.weakness(9, 10)
async def test_a_request_names_the_account_and_the_cluster(launcher):
    client = LauncherClient(launcher.path, 2, 10)
    assert await client.act(ALICE, "cancel", {"jobs": ["7"], "remove": False}) == {"job": "7"}
    account = {"username": "alice", "uid": 20001, "gid": 20000}
    assert launcher.asked == [{"action": "cancel", "cluster": "c" * 32, **account, "jobs": ["7"], "remove": False}]


@pytest.mark.finding("B10")
async def test_no_more_calls_than_the_bound_run_at_once(launcher):
    client = LauncherClient(launcher.path, 2, 10)
    launcher.may_answer.clear()
    calls = [asyncio.ensure_future(client.act(ALICE, "discard", {})) for _ in range(5)]
    await launcher.two_asked.wait()
    launcher.may_answer.set()
    await asyncio.gather(*calls)
    assert (len(launcher.asked), launcher.most) == (5, 2)


@pytest.mark.finding("B10")
async def test_a_call_that_hangs_is_given_up_and_frees_its_place(launcher):
    client = LauncherClient(launcher.path, 1, 0.1)
    launcher.may_answer.clear()
    for _ in range(2):
        with pytest.raises(LauncherError, match=r"'start' took longer than 0\.1 s"):
            await client.act(ALICE, "start", {})


@pytest.mark.parametrize("answer", [b"", b"{", b'{"ok": true', b"x" * 200_000, b"\xff\n"])
async def test_what_is_no_bounded_line_of_json_is_an_error(launcher, answer):
    launcher.answer = answer
    with pytest.raises(LauncherError, match="did not answer to 'submit'"):
        await LauncherClient(launcher.path, 1, 10).act(ALICE, "submit", {})


async def test_a_socket_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(LauncherError, match="did not answer to 'submit'"):
        await LauncherClient(str(tmp_path / "absent"), 1, 10).act(ALICE, "submit", {})


def test_answers_of_the_launcher():
    assert read_answer("submit", b'{"ok": true, "job": "7"}') == {"job": "7"}
    assert read_answer("cancel", b'{"ok": true, "skipped": ["8"]}') == {"skipped": ["8"]}
    assert read_answer("discard", b'{"ok": true}') == {}
    with pytest.raises(LauncherError, match="another form"):
        read_answer("submit", b'{"ok": true}')
    with pytest.raises(Refusal, match="not a directory of yours"):
        read_answer("start", b'{"ok": false, "refusal": "not a directory of yours"}')
    with pytest.raises(HubUnavailable, match="JupyterHub answers 503"):
        read_answer("start", b'{"ok": false, "hub": "JupyterHub answers 503"}')
    with pytest.raises(LauncherError, match="'submit' failed: sbatch ended"):
        read_answer("submit", b'{"ok": false, "error": "sbatch ended"}')


KEYS = ["ok", "job", "refusal", "error", "hub", "skipped"]
NUMBERS = st.one_of(st.sampled_from(["7", "7_0", "-7", "", "7\n", "\u0667"]), text)
ANSWERS = st.fixed_dictionaries(
    {"ok": st.sampled_from([True, False, 1, None])},
    optional={
        "job": st.one_of(NUMBERS, st.integers(), st.lists(NUMBERS, max_size=1)),
        "skipped": st.lists(st.one_of(NUMBERS, st.integers()), max_size=3),
        "refusal": st.one_of(text, st.none()),
        "error": st.one_of(text, st.none()),
        "hub": st.one_of(text, st.none()),
    },
)


@many
@given(
    action=st.sampled_from(sorted(ACTIONS)),
    line=st.one_of(
        st.one_of(ANSWERS, json_values).map(lambda value: json.dumps(value).encode()), st.binary(max_size=50)
    ),
)
@example(action="submit", line=b'{"ok": true}')
@example(action="submit", line=b'{"ok": true, "job": "7; rm"}')
@example(action="start", line=b"[" * 60_000)
def test_a_hostile_answer_is_an_error_or_numbers_of_jobs(action, line):
    try:
        found = read_answer(action, line)
    except (Refusal, LauncherError, HubUnavailable):
        return
    assert found.keys() in ({"job"}, {"skipped"}, set())
    assert found or action != "submit"
    numbers = [*found.get("skipped", []), *([found["job"]] if "job" in found else [])]
    assert all(number.isascii() and number.isdigit() for number in numbers)


LONG = st.builds(str.__mul__, text, st.sampled_from([1, connections.MOST_TEXT]))


@many
@given(answer=st.dictionaries(st.sampled_from(KEYS), st.one_of(LONG, st.lists(LONG, max_size=2), json_values)))
def test_the_launchers_answer_is_one_bounded_line(answer):
    """Texts of programs that run as the user stand in it."""
    line = connections.line(answer)
    assert len(line) <= connections.MOST_ANSWER_BYTES
    assert line.count(b"\n") == 1
    assert line.isascii()
    texts = [value for value in json.loads(line).values() if isinstance(value, str)]
    assert all(value.isprintable() and len(value) <= connections.MOST_TEXT for value in texts)
