"""The collection after a failed test explains its files, and does not fail itself. Needs no testbed."""

import pytest

from gateway.site import Backend
from release import process
from tests.e2e import failures
from tests.e2e.failures import Source


def test_each_file_has_its_command_its_output_and_a_line_in_the_index(tmp_path):
    failures.write({"greeting": Source("a greeting", ["echo", "good morning"])}, tmp_path)
    assert (tmp_path / "greeting.txt").read_text() == "$ echo 'good morning'\ngood morning\n"
    assert "greeting.txt: a greeting\n" in (tmp_path / failures.INDEX).read_text()


def test_a_command_that_does_not_exist_leaves_its_error_and_the_others_run(tmp_path):
    sources = {"absent": Source("nothing", ["/no/such/program"]), "present": Source("text", ["echo", "text"])}
    failures.write(sources, tmp_path)
    assert "No such file or directory" in (tmp_path / "absent.txt").read_text()
    assert (tmp_path / "present.txt").read_text().endswith("\ntext\n")


@pytest.mark.parametrize("backend", list(Backend), ids=str)
def test_a_back_end_that_does_not_answer_leaves_the_reason(backend, tmp_path, monkeypatch):
    def refuse():
        raise process.CommandError(["kubectl"], 1, "connection refused")

    monkeypatch.setitem(failures.SOURCES, backend, refuse)
    monkeypatch.setattr(failures, "common", lambda: {"text": Source("text", ["echo", "text"])})
    failures.collect(backend, tmp_path)
    assert "connection refused" in (tmp_path / failures.NOT_COLLECTED).read_text()
    assert (tmp_path / "text.txt").is_file()


def test_slurms_sources_are_explained():
    sources = failures.slurm()
    assert {"squeue", "sacct", "journal"} <= set(sources)
    assert all(source.shows for source in sources.values())
