"""The content of a refusal that a scheduler's job posts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.as_user import refusals
from gateway.errors import Refusal
from gateway.service.preflight_refusals import text_of


def test_a_refusal_is_one_line_of_printable_characters():
    assert text_of({"text": " a\nb\x00c\x1b[31m  d\u202e "}) == "a b c [31m d"


@pytest.mark.parametrize(
    "content",
    [None, [], "text", {}, {"text": ""}, {"text": 5}, {"text": None}, {"text": ["a"]}, {"text": "a", "more": "b"}],
)
def test_other_content_is_refused(content):
    with pytest.raises(Refusal):
        text_of(content)


def test_the_length_is_bounded():
    assert len(text_of({"text": "x" * refusals.MOST_CHARACTERS})) == refusals.MOST_CHARACTERS
    with pytest.raises(Refusal):
        text_of({"text": "x" * (refusals.MOST_CHARACTERS + 1)})


@given(st.text(min_size=1, max_size=200))
def test_no_text_does_harm_to_a_line(text):
    found = text_of({"text": text})
    assert found.isprintable()
    assert found == found.strip()
