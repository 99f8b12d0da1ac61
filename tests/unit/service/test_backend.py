"""Test the steps in which a back end starts a cluster, and what is left after an error in each."""

import asyncio
from types import SimpleNamespace

import pytest

from gateway.errors import Refusal
from gateway.request.quota import Resources
from gateway.service.backend import Created, FacilityBackend, _check_adapt
from gateway.site import GIB, Backend

TOTAL = Resources.of(4, 8 * GIB)


class RecordingBackend(FacilityBackend):
    """A back end that records its steps. ``errors`` maps a step to the error that it raises."""

    kind = Backend.KUBERNETES

    def __init__(self, errors=None, held=None, shown=None):
        super().__init__()
        self.steps, self.errors, self.held, self.shown = [], errors or {}, held or Resources(), shown

    def _step(self, name):
        self.steps.append(name)
        if name in self.errors:
            raise self.errors[name]

    async def prepare(self, user, cluster_options):
        self._step("prepare")
        config = {"scheduler_cores": 1, "scheduler_memory": GIB}
        return SimpleNamespace(request="request", config=SimpleNamespace(to_dict=lambda: config))

    def _held_of_total(self, username):
        self._step("check room")
        return {"c0": self.held}, TOTAL

    async def _create_cluster(self, user, prepared):
        self._step("create")
        return Created("c1", "handle")

    async def _verify_cluster(self, created, request):
        assert (created.handle, request) == ("handle", "request")
        self._step("verify")

    async def _abandon_cluster(self, created, error):
        assert created.handle == "handle"
        self._step("abandon")
        return self.shown or error

    def advice_of_scaling(self, cluster_name, wanted):
        return f"{cluster_name} gets fewer than {wanted}." if wanted > 5 else None


def test_a_cluster_never_requests_more_workers_than_the_site_allows(testbed_site):
    backend = RecordingBackend()
    backend.site = testbed_site
    maximum = testbed_site.kubernetes.maximum_workers.per_cluster
    bounded = f"The site allows {maximum} workers to a cluster: the cluster requests {maximum} instead of 100000."
    assert backend._advice("c1", 100_000) == f"{bounded} c1 gets fewer than {maximum}."
    assert backend._advice("c1", 6) == "c1 gets fewer than 6."
    assert backend._advice("c1", 5) is None


@pytest.mark.parametrize("bound", ["3", 1.5, True, -1, [1], {"a": 1}])
@pytest.mark.parametrize("field", ["minimum", "maximum"])
def test_bounds_of_adapt_are_numbers(field, bound):
    with pytest.raises(Refusal, match=f"{field} must be a whole number of workers"):
        _check_adapt({field: bound})


def test_adapt_needs_no_bounds():
    _check_adapt({"minimum": None, "maximum": 3})
    _check_adapt({"active": False})


async def start(backend):
    return await backend.start_cluster(SimpleNamespace(name="alice"), {})


async def test_a_cluster_is_created_and_verified():
    backend = RecordingBackend()
    assert await start(backend) == "c1"
    assert backend.steps == ["prepare", "check room", "create", "verify"]


async def test_without_room_nothing_is_created():
    backend = RecordingBackend(held=TOTAL)
    with pytest.raises(Refusal, match="There is no room for another cluster"):
        await start(backend)
    assert backend.steps == ["prepare", "check room"]


@pytest.mark.parametrize("step", ["prepare", "create"])
async def test_an_error_before_there_is_a_cluster_abandons_none(step):
    error = Refusal("no")
    backend = RecordingBackend({step: error})
    with pytest.raises(Refusal) as caught:
        await start(backend)
    assert caught.value is error
    assert backend.steps[-1] == step


@pytest.mark.parametrize("error", [Refusal("no pixi.toml"), OSError("gone"), asyncio.CancelledError()])
async def test_a_cluster_that_is_not_verified_is_abandoned_once(error):
    backend = RecordingBackend({"verify": error})
    with pytest.raises(type(error)) as caught:
        await start(backend)
    assert caught.value is error
    assert backend.steps == ["prepare", "check room", "create", "verify", "abandon"]


async def test_the_user_sees_the_error_that_the_back_end_shows():
    error, shown = OSError("sudo: no"), Refusal("try again")
    with pytest.raises(Refusal) as caught:
        await start(RecordingBackend({"verify": error}, shown=shown))
    assert (caught.value, caught.value.__cause__) == (shown, error)
