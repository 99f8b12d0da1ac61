"""What a user's clusters hold, as the API server estimates it."""

import pytest

from gateway.kubernetes.api import estimate
from gateway.request.quota import Resources
from gateway.site import GIB, UserTotal

TOTAL = Resources(400_000, 800 * GIB, 150)
OPTIONS = {"worker_cores": 4.0, "worker_memory": 2.0}
SCHEDULER = Resources.of(1, GIB)


def cluster(name="c1", *, username="alice", workers=None, phase="Running", **spec):
    status = {"phase": phase} | ({"workers": workers} if workers is not None else {})
    return {
        "metadata": {"namespace": "cms-dask", "name": name},
        "spec": {"username": username, "options": OPTIONS, **spec},
        "status": status,
    }


def test_running_and_starting_clusters_of_the_user_count():
    clusters = [
        cluster("c1", workers=10),
        cluster("c2", phase="Pending"),
        cluster("c3", workers=10, phase="Stopped"),
        cluster("c4", workers=10, phase="Failed"),
        cluster("c5", workers=10, active=False),
        cluster("c6", workers=10, username="bob"),
        {**cluster("c7"), "status": {}},
    ]
    assert estimate.held(clusters, "alice", SCHEDULER) == {
        "cms-dask.c1": Resources(41_000, 21 * GIB, 10),
        "cms-dask.c2": SCHEDULER,
        "cms-dask.c7": SCHEDULER,
    }


@pytest.mark.parametrize(
    ("present", "others", "wanted", "granted"),
    [
        (0, Resources(), 10, 10),
        (0, Resources(), 100, 99),
        (10, Resources.of(350, 0), 20, 12),
        (10, Resources.of(359, 0), 20, 10),
        (10, Resources.of(400, 0), 20, 10),
        (10, Resources.of(400, 0), 5, 5),
        (0, Resources.of(0, 790 * GIB), 100, 4),
        (10, Resources(workers=135), 20, 15),
        (10, Resources(workers=150), 20, 10),
    ],
)
def test_grants(present, others, wanted, granted):
    asked = cluster(workers=present)
    held = {"cms-dask.c1": estimate.resources_of(asked, SCHEDULER), "cms-dask.c2": others}
    assert estimate.grant(asked, wanted, held, TOTAL) == granted


def test_totals_by_class(testbed_site):
    own = UserTotal(cores=10, memory_gib=20)
    gateway = testbed_site.kubernetes.model_copy(update={"user_total_by_class": {"cern": own}})
    assert gateway.total_of("cern") == own
    assert gateway.total_of("purdue") == gateway.user_total
