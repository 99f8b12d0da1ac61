"""A defence of the gateways, how it is removed, and the tests that then must fail."""

from dataclasses import dataclass

from tests.e2e.defences.removal import Removal
from tests.e2e.defences.runs import ASSERTION


@dataclass(frozen=True)
class Defence:
    """A defence of the gateways."""

    finding: str
    """Row of the red team's list that it closes."""
    what: str
    """What the gateway does while the defence is removed."""
    removal: Removal
    tests: tuple[str, ...]
    """Ids of tests, each of which must fail without the defence."""
    reason: str = ASSERTION
    """Pattern of the beginning of their messages: other failures are faults of the testbed."""


def tests(subject: str, *ids: str) -> tuple[str, ...]:
    """Return the ids of tests in the module ``tests/e2e/test_findings_SUBJECT.py``."""
    return tuple(f"tests/e2e/test_findings_{subject}.py::{identifier}" for identifier in ids)
