"""The ledger of pods: entries of Kubernetes' objects, and reservations until the informer sees a pod."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from gateway.kubernetes.controller.ledger import Entry, Ledger, State, entry_of, quantity
from gateway.request.quota import Resources

ONE = Resources(1000, 2**30, 1)
WORKER = Entry("alice", "cms-dask.c1", True, ONE, State.CREATING)


def pod(name="w1", *, phase="Pending", container=None, deleted=False, component="dask-worker"):
    statuses = [{"name": component, "state": {container: {}}}] if container else []
    labels = {
        "gateway.dask.org/cluster": "c1",
        "gateway.dask.org/user": "alice",
        "app.kubernetes.io/component": component,
    }
    return {
        "metadata": {
            "namespace": "cms-dask",
            "name": name,
            "labels": labels,
            **({"deletionTimestamp": "2026-11-25T00:00:00Z"} if deleted else {}),
        },
        "spec": {"containers": [{"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]},
        "status": {"phase": phase, "containerStatuses": statuses},
    }


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("500m", 0.5),
        ("4294967296", 2**32),
        ("4Gi", 2**32),
        ("128974848000m", 128974848),
        ("1.5", 1.5),
        ("2k", 2000),
    ],
)
def test_quantities(text, number):
    assert quantity(text) == number


@given(millicores=st.integers(1, 10**6))
def test_cores_survive_the_way_through_kubernetes(millicores):
    assert Resources.of(float(quantity(f"{millicores}m")), 0) == Resources(millicores, 0)


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({}, State.WAITING),
        ({"container": "waiting"}, State.WAITING),
        ({"phase": "Running", "container": "running"}, State.RUNNING),
        ({"phase": "Running", "container": "terminated"}, State.WAITING),
        ({"phase": "Unknown"}, State.WAITING),
        ({"phase": "Succeeded"}, State.ENDED),
        ({"phase": "Failed"}, State.ENDED),
        ({"phase": "Failed", "deleted": True}, State.REMOVED),
        ({"phase": "Running", "container": "running", "deleted": True}, State.LEAVING),
    ],
)
def test_states(given, state):
    entry = entry_of(pod(**given))
    assert (entry.state, entry.amount, entry.is_worker, entry.cluster) == (state, ONE, True, "cms-dask.c1")


def test_a_scheduler_is_no_worker():
    entry = entry_of(pod("s1", component="dask-scheduler"))
    assert (entry.is_worker, entry.amount.workers) == (False, 0)


def test_pods_of_no_cluster_do_not_count():
    assert entry_of({"metadata": {"namespace": "cms-dask", "name": "x"}, "spec": {}, "status": {}}) is None


def test_a_pod_is_counted_once_from_asking_for_it_until_it_is_gone():
    ledger = Ledger()
    token = ledger.reserve(WORKER)
    assert ledger.held("alice") == {"cms-dask.c1": ONE}
    ledger.saw("cms-dask.w1", entry_of(pod()))  # before the answer to the creation
    ledger.created(token, "cms-dask.w1")
    ledger.not_created(token)
    assert ledger.held("alice") == {"cms-dask.c1": ONE}
    ledger.leaving("cms-dask.w1")
    ledger.saw("cms-dask.w1", entry_of(pod(phase="Running", container="running")))  # an event from before the deletion
    assert ledger.workers("cms-dask.c1", State.LEAVING) == ["cms-dask.w1"]
    assert ledger.held("alice") == {"cms-dask.c1": ONE}
    ledger.lost("cms-dask.w1")
    assert ledger.held("alice") == {}


def test_a_pod_that_was_gone_before_the_answer_is_not_counted():
    ledger = Ledger()
    token = ledger.reserve(WORKER)
    ledger.saw("cms-dask.w1", entry_of(pod()))
    ledger.lost("cms-dask.w1")
    ledger.created(token, "cms-dask.w1")
    assert ledger.held("alice") == {}


def test_a_pod_that_nobody_has_seen_is_forgotten_after_a_while():
    ledger = Ledger()
    ledger.created(ledger.reserve(WORKER), "cms-dask.w1")
    pending = ledger.reserve(WORKER)
    ledger.forget_unseen({})
    assert len(ledger.workers("cms-dask.c1", State.WAITING)) == 1
    ledger.forget_unseen({})
    assert ledger.held("alice") == {"cms-dask.c1": ONE}
    ledger.not_created(pending)
    assert ledger.held("alice") == {}


def test_ended_pods_hold_nothing():
    ledger = Ledger()
    ledger.saw("cms-dask.w1", entry_of(pod(phase="Succeeded")))
    assert ledger.held("alice") == {}
    assert ledger.workers("cms-dask.c1", State.ENDED) == ["cms-dask.w1"]
    ledger.leaving("cms-dask.w1")
    assert ledger.workers("cms-dask.c1", State.ENDED) == []
    ledger.not_leaving("cms-dask.w1")
    assert ledger.workers("cms-dask.c1", State.ENDED) == ["cms-dask.w1"]


class Lives(RuleBasedStateMachine):
    """Answers and events in any order: a user holds the pods that exist or that are being created."""

    asked = Bundle("asked")
    existing = Bundle("existing")

    def __init__(self):
        super().__init__()
        self.ledger, self.truth, self.number = Ledger(), set(), 0

    @rule(target=asked)
    def ask(self):
        self.number += 1
        token = self.ledger.reserve(WORKER)
        self.truth.add(token)
        return token

    @rule(token=consumes(asked))
    def refused(self, token):
        self.ledger.not_created(token)
        self.truth.discard(token)

    @rule(target=existing, token=consumes(asked), seen_first=st.booleans(), gone_first=st.booleans())
    def accepted(self, token, seen_first, gone_first):
        self.number += 1
        key = f"cms-dask.w{self.number}"
        if seen_first:
            self.ledger.saw(key, entry_of(pod(key)))
            if gone_first:
                self.ledger.lost(key)
        self.ledger.created(token, key)
        self.truth.discard(token)
        if not (seen_first and gone_first):
            self.truth.add(key)
        return key

    @rule(key=existing)
    def changes(self, key):
        if key in self.truth:
            self.ledger.saw(key, entry_of(pod(key, phase="Running", container="running")))

    @rule(key=existing)
    def goes(self, key):
        self.ledger.leaving(key)
        self.ledger.lost(key)
        self.truth.discard(key)

    @invariant()
    def held_is_what_is(self):
        expected = {"cms-dask.c1": ONE * len(self.truth)} if self.truth else {}
        assert self.ledger.held("alice") == expected


TestLives = Lives.TestCase
