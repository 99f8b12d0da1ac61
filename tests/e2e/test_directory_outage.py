"""While the directory does not answer: whoever the gateway knows goes on working, others are told to try again."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gateway.site import Backend
from release import process
from testbed import directory, docker
from testbed.waiting import until
from tests.e2e import notebooks
from tests.e2e.notebooks import CellError, Notebook, on_worker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def outage(backend: Backend, no_leftovers: None) -> Iterator[None]:
    """The directory takes connections and never answers; alice has been here before, at each replica of the API."""
    with Notebook("alice") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        kernel.run("for _ in range(20):\n    gateway.list_clusters()")
    with ExitStack() as stack:
        process.run(["docker", "pause", directory.CONTAINER])
        stack.callback(until, "the directory answers", answers, seconds=30)
        stack.callback(process.run, ["docker", "unpause", directory.CONTAINER])
        yield


def answers() -> bool:
    return bool(docker.execute(directory.CONTAINER, ["ldapwhoami", *directory.LOCAL]))


def test_who_was_seen_recently_works_on(backend: Backend, outage: None) -> None:
    with Notebook("alice") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        kernel.run(notebooks.new_cluster(notebooks.SMALL))
        kernel.run(notebooks.connect())
        assert on_worker(kernel, "os.getuid()") == 20001


def test_others_are_told_to_try_again(backend: Backend, outage: None) -> None:
    with Notebook("mallory") as kernel:
        kernel.snippet(f"connect-{backend.value}")
        with pytest.raises(CellError, match="can't be looked up now"):
            kernel.run("gateway.list_clusters()")
