"""While the directory does not answer, users that the gateway has seen recently keep working."""

from collections.abc import Iterator

import pytest

from gateway.site import Backend
from testbed import directory, docker
from testbed.waiting import until
from tests.e2e import faults, notebooks
from tests.e2e.notebooks import CellError, on_worker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def outage(backend: Backend, no_leftovers: None) -> Iterator[None]:
    """Freeze the directory, after alice has made requests to each replica of the API and has started a cluster.

    The controller on Kubernetes looks accounts up itself, when it makes pods.
    """
    with notebooks.connected("alice", backend) as kernel:
        kernel.run("for _ in range(20):\n    gateway.list_clusters()")
        notebooks.start_cluster(kernel)
        kernel.run("cluster.shutdown()")
    with faults.paused_machine(directory.CONTAINER):
        yield
    until("the directory answers", answers, seconds=30)


def answers() -> bool:
    return bool(docker.execute(directory.CONTAINER, ["ldapwhoami", *directory.LOCAL]))


def test_a_user_seen_recently_keeps_working(backend: Backend, outage: None) -> None:
    with notebooks.connected("alice", backend) as kernel:
        notebooks.start_cluster(kernel)
        assert on_worker(kernel, "os.getuid()") == 20001


def test_other_users_are_told_to_try_again(backend: Backend, outage: None) -> None:
    with notebooks.connected("mallory", backend) as kernel, pytest.raises(CellError, match="can't be looked up now"):
        kernel.run("gateway.list_clusters()")
