"""Test that the text of a refusal can travel as the reason of an HTTP response."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refusal


@given(st.text())
def test_messages_fit_into_an_http_reason(text):
    message = str(Refusal(text))
    assert message.isprintable()
    assert message == message.strip()
