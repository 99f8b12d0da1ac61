"""Test that each weakness of the former deployment in identity, options and environments has a test with its number.

The test checks the markers only. The reviewer judges whether a marked test shows that its weakness is impossible.
"""

import ast
import functools

from tests.unit import sources

WEAKNESSES = {*range(1, 16), *range(21, 36)}
NOT_TESTABLE: dict[int, str] = {}
"""Number of a weakness -> why no test can show that it is impossible."""


def marked(tree):
    """Yield the numbers in all weakness markers of a file's syntax tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.weakness":
            yield from (ast.literal_eval(argument) for argument in node.args)


@functools.cache
def all_marked():
    return {number for path in sources.files(sources.ROOT, "tests") for number in marked(sources.tree(path))}


def test_markers_are_seen_wherever_they_stand():
    source = """
pytestmark = pytest.mark.weakness(1)

@pytest.mark.weakness(2, 3)
def test_a(): pass

class TestB:
    @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.weakness(4))])
    def test_b(self, x): pass  # weakness 5
"""
    assert sorted(marked(ast.parse(source))) == [1, 2, 3, 4]


def test_every_weakness_has_a_test_that_names_it():
    assert WEAKNESSES - all_marked() - set(NOT_TESTABLE) == set()


def test_no_test_names_a_weakness_that_is_none():
    assert all_marked() - {*range(1, 54)} == set()


def test_what_is_tested_is_testable():
    assert not set(NOT_TESTABLE) & all_marked()
