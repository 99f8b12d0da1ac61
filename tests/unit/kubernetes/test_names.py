"""Labels of the Kubernetes gateway's objects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kubernetes import names


@pytest.mark.weakness(35)
@given(text=st.text(max_size=100))
def test_labels_are_valid(text):
    assert names.LABEL_VALUE.fullmatch(names.label_value(text))


@pytest.mark.weakness(35)
@given(texts=st.lists(st.text(max_size=100), min_size=2, max_size=2, unique=True))
def test_labels_differ_when_names_do(texts):
    first, second = texts
    assert names.label_value(first) != names.label_value(second)
