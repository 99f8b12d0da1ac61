"""Decisions state themselves in their titles, fit on a page, and stand in the index."""

import re

import pytest

from tests.unit.docs.documents import ROOT

DIRECTORY = ROOT / "docs" / "decisions"
DECISIONS = sorted(DIRECTORY.glob("[0-9]*.md"))
MOST_LINES = 45
TITLE = re.compile(r"# (?P<title>(?P<number>\d+)\. .+)\n")


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_decision_is_a_page_with_its_parts(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    assert [part for part in ("**Question.**", "**Decision.**", "**Follows.**") if part not in text] == []
    assert int(TITLE.match(text)["number"]) == int(path.name[:4])


def test_numbers_are_without_gap():
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_index_has_each_title():
    index = (DIRECTORY / "README.md").read_text()
    titles = [(TITLE.match(path.read_text())["title"], path.name) for path in DECISIONS]
    assert [title for title, name in titles if f"[{title}]({name})" not in index] == []
