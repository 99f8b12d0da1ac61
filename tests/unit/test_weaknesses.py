"""Each weakness of the former deployment in identity, options and environments has a test that names it."""

import ast
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
WEAKNESSES = {*range(1, 16), *range(21, 36)}
NOT_TESTABLE: dict[int, str] = {}
"""By number: why no test can show that a weakness is impossible."""


def marked(source):
    """The numbers of all weakness markers in a file's text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.weakness":
            yield from (ast.literal_eval(argument) for argument in node.args)


def all_marked():
    return {number for path in TESTS.rglob("*.py") for number in marked(path.read_text())}


def test_markers_are_seen_wherever_they_stand():
    source = """
pytestmark = pytest.mark.weakness(1)

@pytest.mark.weakness(2, 3)
def test_a(): pass

class TestB:
    @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.weakness(4))])
    def test_b(self, x): pass  # weakness 5
"""
    assert sorted(marked(source)) == [1, 2, 3, 4]


def test_every_weakness_has_a_test_that_names_it():
    assert WEAKNESSES - all_marked() - set(NOT_TESTABLE) == set()


def test_no_test_names_a_weakness_that_is_none():
    assert all_marked() - {*range(1, 54)} == set()


def test_what_is_tested_is_testable():
    assert not set(NOT_TESTABLE) & all_marked()
