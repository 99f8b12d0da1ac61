"""The catalogue of ``make breaks`` fits the repository: its edits find their texts, and its tests exist."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.defences import __main__ as program
from tests.e2e.defences import runs
from tests.e2e.defences.catalogue import DEFENCES
from tests.e2e.defences.defence import Defence
from tests.e2e.defences.removal import Both, Edit, EditError, Removal
from tests.unit.sources import ROOT

ROWS = {"R1", "R2", "R3", *(f"R4{letter}" for letter in "abcdefgh"), "R5", "R6", "R8", "R9", "R10"}
"""Rows of the red team's list. R7 has no single defence to remove: it is the use of TLS."""


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: f"{defence.finding} {defence.what}")
def test_each_edit_finds_its_text_and_leaves_a_module_that_can_be_parsed(defence):
    texts = {}
    for edit in defence.removal.edits:
        texts[edit.source] = edit.applied(texts.get(edit.source, edit.source_text()))
        assert (edit.installed is None) == edit.source.endswith(".py")
    for source, text in texts.items():
        if source.endswith(".py"):
            ast.parse(text)


def test_each_named_test_exists_and_has_the_mark_of_its_finding():
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    wanted = {identifier: defence.finding for defence in DEFENCES for identifier in defence.tests}
    files = sorted({identifier.partition("::")[0] for identifier in wanted})
    listed = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, check=False)
    found = set(listed.stdout.splitlines())
    assert set(wanted) <= found, listed.stdout[-1000:] + listed.stderr[-1000:]
    for identifier, finding in wanted.items():
        assert f'pytest.mark.finding("{finding}")' in Path(ROOT, identifier.partition("::")[0]).read_text()


def test_each_row_has_a_defence():
    assert {defence.finding for defence in DEFENCES} == ROWS


def test_an_edit_without_its_text_is_an_error():
    edit = Edit("gateway/settings.py", "a = 1", "a = 2")
    assert edit.module == "gateway.settings"
    assert edit.applied("a = 1\n") == "a = 2\n"
    for text in ("", "a = 1\na = 1\n"):
        with pytest.raises(EditError, match=r"^gateway/settings\.py: [02] places have the text"):
            edit.applied(text)


class Part(Removal):
    """Notes what is done; ``fault`` is raised by the removal."""

    def __init__(self, noted, name, fault=None):
        self.noted, self.name, self.fault = noted, name, fault

    def remove(self):
        self.noted.append(f"remove {self.name}")
        if self.fault is not None:
            raise self.fault

    def restore(self):
        self.noted.append(f"restore {self.name}")


@pytest.mark.parametrize("fault", [None, OSError(), KeyboardInterrupt()])
def test_a_defence_is_restored_whatever_happens(fault):
    noted = []
    parts = Both(Part(noted, "a"), Part(noted, "b", fault))
    with pytest.raises(KeyboardInterrupt if fault is None else type(fault)), parts.removed():
        raise KeyboardInterrupt
    assert noted == ["remove a", "remove b", "restore b", "restore a"]


def test_a_part_that_can_not_be_restored_keeps_no_other_from_it():
    noted = []

    class Broken(Part):
        def restore(self):
            raise OSError

    with pytest.raises(OSError), Both(Part(noted, "a"), Broken(noted, "b")).removed():  # noqa: PT011
        pass
    assert noted == ["remove a", "remove b", "restore a"]


REPORT = """<testsuites><testsuite>
<testcase classname="tests.e2e.test_a" name="one[slurm]"><failure message="assert 1 == 2&#10; +  where">x</failure>
</testcase>
<testcase classname="tests.e2e.test_a" name="two"><error message="failed on setup">text</error></testcase>
<testcase classname="tests.e2e.test_a" name="three"/>
<testcase classname="tests.e2e.test_a" name="four"><failure message="assert 1">text</failure></testcase>
<testcase classname="tests.e2e.test_a" name="four"><error message="failed on teardown">text</error></testcase>
</testsuite></testsuites>"""


def test_the_outcomes_of_a_report():
    one, two, three, four = runs.outcomes(REPORT)
    assert [outcome.kind for outcome in (one, two, three, four)] == ["failure", "error", "passed", "error"]
    assert (one.test, one.message) == ("test_a::one[slurm]", "assert 1 == 2 + where")


@pytest.mark.parametrize(
    ("message", "is_attack"),
    [
        ("assert {200} == {429}", True),
        ("AssertionError: assert 1 == 2", True),
        ("Failed: DID NOT RAISE <class 'release.process.CommandError'>", True),
        ("Failed: Timeout (>240.0s) from pytest-timeout.", False),
        ("AssertionError: no answer from bob's kernel within 150 s", False),
        ("release.process.CommandError: docker exec", False),
        ("TimeoutError: not within 30 s: a pod", False),
    ],
)
def test_only_a_tests_own_assertion_shows_that_the_attack_worked(message, is_attack):
    outcome = runs.Outcome("a", "failure", message)
    assert outcome.failed_by(runs.ASSERTION) == is_attack
    assert not runs.Outcome("a", "error", message).failed_by(runs.ASSERTION)
    run = runs.Run((outcome,), Path("log"))
    assert run.all_failed(1, runs.ASSERTION) == is_attack
    assert not run.all_failed(2, runs.ASSERTION)
    assert not run.all_passed(1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for the files of runs, with a test that passes while the file ``defence`` exists."""
    monkeypatch.setattr(runs, "SAVED", tmp_path)
    path = tmp_path / "defence"
    path.touch()
    test = tmp_path / "test_made.py"
    test.write_text(f"from pathlib import Path\ndef test_attack(): assert Path({str(path)!r}).exists()\n")
    return tmp_path


class File(Removal):
    """Removes a file, or does not."""

    def __init__(self, path, removes):
        self.path, self.removes = path, removes

    def remove(self):
        if self.removes:
            self.path.unlink()

    def restore(self):
        self.path.touch()


@pytest.mark.parametrize("removes", [True, False])
def test_a_defence_is_proven_by_a_test_that_fails_only_without_it(folder, capsys, removes):
    made = Defence("R0", "anybody enters", File(folder / "defence", removes), (f"{folder}/test_made.py::test_attack",))
    assert program.break_one(made) == removes
    printed = capsys.readouterr().out
    assert ("FAIL as they must" in printed) == removes
    assert ("test_made::test_attack: failure: AssertionError: assert" in printed) == removes
    assert "with it, its tests pass" in printed


def test_a_removal_that_fails_is_told_and_restored(folder, capsys):
    noted = []
    made = Defence("R0", "anybody enters", Part(noted, "a", EditError("not one")), ("a",))
    assert program.break_one(made) is False
    assert "the defence can't be removed\n       EditError: not one" in capsys.readouterr().out
    assert noted == ["remove a", "restore a"]


def test_a_run_without_tests_is_told(folder):
    assert runs.run([f"{folder}/test_made.py::test_gone"], "gone").lines()[0] == "pytest ran no test"
