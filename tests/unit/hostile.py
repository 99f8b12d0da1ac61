"""Strategies of hostile input, and how many examples tests take of them."""

import os

from hypothesis import settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "100"))
"""Number of examples for each test with hostile input; ``make test`` runs some thousands."""
many = settings(max_examples=EXAMPLES)

HOSTILE = "aA0 \t\n\r\0'\"`$(){}[];&|<>*?!\\#%~=,:@+-_./\u202e\u200b\uff11éß☃\x7f\x1b"
hostile = st.text(st.one_of(st.sampled_from(HOSTILE), st.characters()), max_size=40)
surrogates = st.text(st.one_of(st.sampled_from(HOSTILE), st.characters(categories=["Cs"])), max_size=20)
text = st.one_of(hostile, surrogates)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)),
    max_leaves=8,
)
"""All that JSON can hold."""
