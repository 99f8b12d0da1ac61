"""Heartbeats of hostile schedulers: types, lengths, bounds."""

import copy
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import Refusal
from gateway.service import heartbeats
from tests.unit.hostile import json_values, many

GOOD = {
    "scheduler_address": "tls://10.0.0.1:40001",
    "dashboard_address": "http://10.0.0.1:40002",
    "api_address": "http://10.0.0.1:40003",
    "count": 3,
    "active_workers": ["a", "b"],
    "closing_workers": [],
    "closed_workers": ["c"],
}
FIELDS = sorted(GOOD)


def test_upstreams_heartbeat_passes_unchanged():
    assert heartbeats.checked(GOOD) == GOOD
    assert heartbeats.checked({**GOOD, "more": ["x"]}) == GOOD


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", "3"),
        ("count", 3.0),
        ("count", True),
        ("count", -1),
        ("count", 10**30),
        ("active_workers", "abc"),
        ("active_workers", {"a": 1}),
        ("active_workers", [["a"]]),
        ("closing_workers", ["x" * 300]),
        ("closed_workers", ["x"] * (heartbeats.MOST_NAMES + 1)),
        ("dashboard_address", 123),
        ("api_address", None),
        ("scheduler_address", "x" * 70_000),
    ],
)
def test_a_wrong_field_is_named(field, value):
    with pytest.raises(Refusal, match=f"The heartbeat is malformed: {field}") as caught:
        heartbeats.checked({**GOOD, field: value})
    assert len(str(caught.value)) < 400


@many
@given(message=json_values)
@example(message={})
@example(message=[GOOD])
def test_anything_is_refused_or_a_heartbeat(message):
    with pytest.raises(Refusal):
        heartbeats.checked(message)


@many
@given(field=st.sampled_from(FIELDS), value=json_values)
def test_a_field_of_any_kind_is_refused_or_harmless(field, value):
    message = copy.deepcopy(GOOD) | {field: value}
    try:
        found = heartbeats.checked(message)
    except Refusal:
        return
    assert json.dumps(found)
    assert type(found["count"]) is int
    assert all(isinstance(name, str | int) for name in found["active_workers"])
    assert all(isinstance(found[name], str) and len(found[name]) <= 320 for name in found if name.endswith("address"))
