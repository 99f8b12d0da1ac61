"""Test the user total: arithmetic, fairness between clusters, messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.request import quota
from gateway.request.quota import Claim, Resources
from gateway.site import GIB

TOTAL = Resources.of(400, 800 * GIB)
resources = st.builds(Resources, st.integers(1, 64_000), st.integers(1, 256 * GIB), st.integers(0, 9))
claims = st.lists(st.tuples(resources, resources, st.integers(0, 50)), max_size=8).map(
    lambda found: [Claim(f"c{index}", *values) for index, values in enumerate(found)]
)


def test_the_guides_total_is_exact(geddes_site):
    total = Resources.of_total(geddes_site.kubernetes.user_total, geddes_site.kubernetes.maximum_workers.per_user)
    assert total == Resources(400_000, 800 * GIB, geddes_site.kubernetes.maximum_workers.per_user)
    tenths = quota.sum_of([Resources.of(0.1, 0)] * 4000)
    assert total.covers(tenths)
    assert not total.covers(tenths + Resources.of(0.001, 0))


@given(claims=claims, room=resources)
def test_grants_fit_and_none_is_left_that_would(claims, room):
    grants = quota.granted(room, TOTAL, claims)
    left = room - quota.sum_of(claim.worker * grants[claim.cluster] for claim in claims)
    assert left.covers(Resources())
    for claim in claims:
        assert 0 <= grants[claim.cluster] <= claim.wanted
        assert grants[claim.cluster] == claim.wanted or not left.covers(claim.worker)


def test_the_number_of_workers_is_bounded_where_resources_are_not():
    total = Resources.of_total(None, 100)
    worker = Resources(1000, GIB, 1)
    claims = [Claim("a", worker * 30, worker, 1000), Claim("b", Resources(), worker, 1000)]
    assert quota.granted(total - worker * 30, total, claims) == {"a": 20, "b": 50}
    held = {"a": worker * 60}
    assert quota.fitting(total - worker * 60, worker, 1000) == 40
    assert quota.trimmed(1000, 40, held, total) == (
        "The cluster gets 40 of the 1000 workers that you asked for. You hold 60 cores and 60 GB:"
        " a (60 cores and 60 GB). The site allows 100 workers to a user."
        " The others start by themselves as soon as you free room for them."
    )


def test_a_scheduler_fits_where_a_lowered_bound_is_exceeded():
    assert Resources(1000, GIB, -3).covers(Resources.of(1, GIB))
    assert not Resources(1000, GIB, -3).covers(Resources(0, 0, 1))


def test_nothing_is_granted_without_room():
    claim = Claim("a", Resources(), Resources.of(1, GIB), 5)
    assert quota.granted(Resources.of(0.5, 100 * GIB), TOTAL, [claim]) == {"a": 0}
    assert quota.granted(Resources.of(-3, -GIB), TOTAL, [claim]) == {"a": 0}


@given(wanted=st.integers(50, 100), size=st.integers(1, 4))
def test_clusters_of_a_user_share_alike(wanted, size):
    worker = Resources.of(size, size * GIB)
    room = worker * 30
    grants = quota.granted(room, TOTAL, [Claim(name, Resources(), worker, wanted) for name in ("a", "b", "c")])
    assert grants == {"a": 10, "b": 10, "c": 10}


def test_who_holds_less_comes_first():
    worker = Resources.of(1, GIB)
    claims = [Claim("rich", worker * 100, worker, 100), Claim("poor", worker * 10, worker, 100)]
    assert quota.granted(worker * 50, TOTAL, claims) == {"rich": 0, "poor": 50}


def test_the_scarcer_of_cores_and_memory_decides():
    cores, memory = (
        Claim("cores", Resources(), Resources.of(8, GIB), 99),
        Claim("memory", Resources(), Resources.of(1, 16 * GIB), 99),
    )
    half = Resources.of(200, 400 * GIB)
    grants = quota.granted(half, TOTAL, [cores, memory])
    shares = [(claim.worker * grants[claim.cluster]).share_of(TOTAL) for claim in (cores, memory)]
    assert shares[0] == pytest.approx(shares[1], abs=0.05)


def test_a_refusal_says_what_is_held_where():
    held = {
        "cms.a1": Resources.of(200, 100 * GIB),
        "cms.b2": Resources.of(199.5, 50 * GIB),
        "cms.c3": Resources.of(0.5, GIB),
    }
    assert quota.refusal(Resources.of(1, GIB), held, TOTAL) == (
        "There is no room for another cluster: its scheduler needs 1 core and 1 GB."
        " You hold 400 cores and 151 GB of 400 cores and 800 GB: cms.a1 (200 cores and 100 GB),"
        " cms.b2 (199.5 cores and 50 GB), cms.c3 (0.5 cores and 1 GB)."
        " Shut a cluster down, or scale one down, and try again."
    )


def test_a_trimmed_wish_says_what_is_granted():
    assert quota.trimmed(10, 3, {}, TOTAL).startswith(
        "The cluster gets 3 of the 10 workers that you asked for. You hold 0 cores and 0 GB of 400 cores and 800 GB."
    )
