"""Strategies of hostile input, and how many examples tests take of them.

Hypothesis draws a text of one alphabet at once, and a text of several alphabets character by character, which takes
several times as long. So each text here has one alphabet, or is two such texts joined.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "100"))
"""Number of examples for each test with hostile input; ``make test`` and ``make hostile`` raise it."""
SECONDS = 60 + EXAMPLES // 10
"""Timeout of each of these tests: far more than it takes on an idle machine."""

Test = TypeVar("Test", bound=Callable[..., object])


def many(test: Test) -> Test:
    """Run a test with :data:`EXAMPLES` examples; ``make hostile`` selects it."""
    decorated: Test = pytest.mark.hostile(pytest.mark.timeout(SECONDS)(settings(max_examples=EXAMPLES)(test)))
    return decorated


HOSTILE = "aA0 \t\n\r\0'\"`$(){}[];&|<>*?!\\#%~=,:@+-_./\u202e\u200b\uff11éß☃\x7f\x1b"
strange = st.text(HOSTILE, max_size=20)
anyhow = st.text(max_size=20)
hostile = st.one_of(strange, anyhow, st.builds(str.__add__, strange, anyhow))
surrogates = st.text(st.characters(categories=["Cs"], include_characters=HOSTILE), max_size=20)
text = st.one_of(hostile, surrogates)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a value, or a list or an object of such values."""
    return st.one_of(inner, st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3))


json_values = nested(nested(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text)))
"""All kinds of values that JSON can hold; ``st.recursive`` takes three times as long."""
