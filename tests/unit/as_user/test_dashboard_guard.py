"""A scheduler answers requests of the gateway's proxy only; a real scheduler, in its own process."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.as_user import dashboard_guard
from tests.unit.as_user.test_dashboard import seen

pytestmark = pytest.mark.finding("R5")

GUARD = """
import os
from pathlib import Path
os.environ.update({variables})
import sys
sys.path.insert(0, {root!r})
from gateway.as_user import dashboard_guard
dashboard_guard.install()
"""
WALK = f"""
codes = []
for headers in ({{}}, {{"{dashboard_guard.HEADER}": "wrong"}}, {{"{dashboard_guard.HEADER}": "right"}}):
    for path in ("/status", "/health", "/metrics", "/no-such-page"):
        found = await AsyncHTTPClient().fetch(base + path, headers=headers, raise_error=False, request_timeout=240)
        codes.append(found.code)
return codes
"""


def codes(variables):
    root = dashboard_guard.__file__.removesuffix("/gateway/as_user/dashboard_guard.py")
    return seen(WALK, before=GUARD.format(variables=variables, root=root))[0]


def test_without_the_secret_no_path_is_answered():
    assert codes({dashboard_guard.SECRET: "right"}) == [403] * 8 + [200, 200, 200, 404]


def test_a_cluster_without_a_secret_has_no_guard():
    assert codes({}) == [200, 200, 200, 404] * 3


@given(st.text())
def test_only_the_secret_itself_is_right(given_header):
    assert dashboard_guard.is_same(given_header, "right") == (given_header == "right")
