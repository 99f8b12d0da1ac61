"""Each word of the glossary, and each name that it gives for the code, occurs."""

import re

import pytest

from tests.unit.docs.documents import DOCUMENTS, ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"
PROGRAMS = ("gateway", "infra", "release", "testbed")
ROW = re.compile(r"^\| (?P<word>[a-zA-Z -]+) \| (?P<meaning>[^|]+) \| (?P<names>[^|]*) \|$", re.MULTILINE)
ROWS = [row.groupdict() for row in ROW.finditer(GLOSSARY.read_text()) if row["word"] != "word"]


@pytest.fixture(scope="module")
def code():
    return "\n".join(path.read_text() for name in PROGRAMS for path in sorted((ROOT / name).rglob("*.py")))


@pytest.fixture(scope="module")
def documents():
    return "\n".join(path.read_text() for path in DOCUMENTS if path != GLOSSARY)


def occurs(words, text):
    return re.search(rf"(?<![a-zA-Z]){re.escape(words)}(?![a-z])", text, re.IGNORECASE) is not None


def test_glossary_has_words():
    assert len(ROWS) > 24
    assert len({row["word"] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["word"])
def test_word_occurs(row, code, documents):
    plural = row["word"] + "s"
    assert any(occurs(word, text) for word in (row["word"], plural) for text in (code, documents))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["word"])
def test_names_occur_in_the_code(row, code):
    names = re.findall(r"`([^`]+)`", row["names"])
    assert [name for name in names if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", code)] == []


@pytest.mark.parametrize(("words", "found"), [("back end", True), ("end back", False), ("ack end", False)])
def test_words_are_found_whole(words, found):
    assert occurs(words, "Both Back ends.") is False
    assert occurs(words, "A Back end.") is found
