"""Texts that users choose are bounded before they reach the gateway's memory, its records and its answers."""

from collections.abc import Iterator

import pytest

from gateway.site import Backend
from tests.e2e import notebooks
from tests.e2e.administration import Administrator
from tests.e2e.notebooks import CellError, Notebook

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PLACE = "/depot/cms/users/alice/loud"
PRINTED = 300_000
"""Characters that the interpreter of the environment prints."""
LOUD = f"""#!/bin/sh
{{ printf 'error: \\033[31m'; head -c {PRINTED} /dev/zero | tr '\\0' x; }} >&2
exit 3
"""
MOST_ANSWER = 1000
"""Bound on the characters of a refusal."""
LONG_PATH = "/depot/cms/" + "a/" * 50_000


@pytest.fixture
def kernel(backend: Backend, no_leftovers: None) -> Iterator[Notebook]:
    """Return alice's notebook with an environment whose interpreter prints much, and fails."""
    with (
        notebooks.connected("alice", backend) as opened,
        notebooks.conda_environment(opened, PLACE, LOUD),
    ):
        yield opened


@pytest.mark.finding("R4e")
def test_what_an_interpreter_prints_is_bounded_and_cleaned(kernel: Notebook) -> None:
    with pytest.raises(CellError) as refused:
        kernel.run(notebooks.new_cluster({"conda_env": PLACE}))
    assert (refused.value.name, "does not start: error: " in refused.value.message) == ("ValueError", True)
    assert len(refused.value.message) < MOST_ANSWER
    assert refused.value.message.isprintable()


@pytest.mark.finding("R4f")
def test_a_path_that_linux_does_not_allow_is_not_stored(kernel: Notebook, administrator: Administrator) -> None:
    before = administrator.all_objects()
    with pytest.raises(CellError, match="conda_env is too long"):
        kernel.run(notebooks.new_cluster({"conda_env": LONG_PATH}))
    assert administrator.all_objects() <= before
